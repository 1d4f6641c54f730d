// The Python module: addresses and sizes in, nothing of torch.
//
// Layers come as addresses that the caller has checked (type, shape, strides); the interpreter's lock is released
// while they run. Streams come as NumPy arrays, since theirs is the call that must cost nothing.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <atomic>
#include <stdexcept>
#include <string>
#include <vector>

#include "isas.h"  // written by CMakeLists.txt: SEQLOOM_EACH_ISA, from the fastest to the one that runs anywhere
#include "seqloom.h"

namespace nb = nanobind;

extern "C" {
#define DECLARE(isa) const SeqloomKernels* seqloom_kernels_##isa();
SEQLOOM_EACH_ISA(DECLARE)
#undef DECLARE
}

namespace {

std::vector<const SeqloomKernels*> compiled() {
    return {
#define CALL(isa) seqloom_kernels_##isa(),
        SEQLOOM_EACH_ISA(CALL)
#undef CALL
    };
}

const SeqloomKernels* fastest() {
    for (const SeqloomKernels* kernels : compiled())
        if (kernels->supported()) return kernels;
    throw std::runtime_error("no instruction set of this machine is compiled in");
}

std::atomic<const SeqloomKernels*> chosen{nullptr};
std::atomic<long> calls{0};

const SeqloomKernels* kernels() {
    const SeqloomKernels* found = chosen.load();
    if (found == nullptr) chosen.store(found = fastest());
    return found;
}

std::vector<std::string> instruction_sets() {
    std::vector<std::string> names;
    for (const SeqloomKernels* one : compiled())
        if (one->supported()) names.push_back(one->name);
    return names;
}

void use(const std::string& name) {
    for (const SeqloomKernels* one : compiled())
        if (one->supported() && name == one->name) return chosen.store(one);
    throw std::invalid_argument("no instruction set '" + name + "' here");
}

void check(SeqloomStatus status) {
    if (status == SEQLOOM_NO_MEMORY) throw std::bad_alloc();
}

template <class T>
T* at(std::uintptr_t address) {
    return reinterpret_cast<T*>(address);
}

using Address = std::uintptr_t;
using Addresses = std::vector<Address>;

// sizes: B, T, I, H, then the strides x_row, x_step, output_row, output_step.
// addresses: lengths, x, w_ih, w_hh, b_ih, b_hh, extra, state, output, final_state, reserve.
SeqloomLayer layer_of(int cell, int threads, bool reverse, const std::vector<std::int64_t>& sizes,
                      const Addresses& a) {
    SeqloomLayer p = {};
    p.cell = cell, p.threads = threads, p.reverse = reverse;
    p.B = sizes.at(0), p.T = sizes.at(1), p.I = sizes.at(2), p.H = sizes.at(3);
    p.x_row = sizes.at(4), p.x_step = sizes.at(5), p.output_row = sizes.at(6), p.output_step = sizes.at(7);
    p.lengths = at<const std::int64_t>(a.at(0));
    p.x = at<const float>(a.at(1));
    p.w_ih = at<const float>(a.at(2)), p.w_hh = at<const float>(a.at(3));
    p.b_ih = at<const float>(a.at(4)), p.b_hh = at<const float>(a.at(5));
    p.extra = at<const float>(a.at(6)), p.state = at<const float>(a.at(7));
    p.output = at<float>(a.at(8)), p.final_state = at<float>(a.at(9)), p.reserve = at<float>(a.at(10));
    return p;
}

void forward(int cell, int threads, bool reverse, const std::vector<std::int64_t>& sizes, const Addresses& addresses) {
    SeqloomLayer layer = layer_of(cell, threads, reverse, sizes, addresses);
    ++calls;
    SeqloomStatus status;
    {
        nb::gil_scoped_release free;
        status = kernels()->forward(&layer);
    }
    check(status);
}

// gradients: d_output, d_final, d_x, d_w_ih, d_w_hh, d_b_ih, d_b_hh, d_extra, d_state.
void backward(int cell, int threads, bool reverse, const std::vector<std::int64_t>& sizes, const Addresses& addresses,
              const Addresses& g, std::int64_t d_output_row, std::int64_t d_output_step) {
    SeqloomLayer layer = layer_of(cell, threads, reverse, sizes, addresses);
    SeqloomGradients gradients = {
        at<const float>(g.at(0)), d_output_row, d_output_step, at<const float>(g.at(1)), at<float>(g.at(2)),
        at<float>(g.at(3)), at<float>(g.at(4)), at<float>(g.at(5)), at<float>(g.at(6)), at<float>(g.at(7)),
        at<float>(g.at(8)),
    };
    SeqloomStatus status;
    {
        nb::gil_scoped_release free;
        status = kernels()->backward(&layer, &gradients);
    }
    check(status);
}

// addresses: lengths, a, b, h, output, final_state; gradients: d_output, d_final, d_a, d_b, d_h, or none.
void scan(int threads, std::int64_t B, std::int64_t T, std::int64_t H, const Addresses& a, const Addresses& g) {
    SeqloomScan p = {threads, B, T, H, at<const std::int64_t>(a.at(0)), at<const float>(a.at(1)),
                     at<const float>(a.at(2)), at<const float>(a.at(3)), at<float>(a.at(4)), at<float>(a.at(5))};
    ++calls;
    SeqloomStatus status;
    if (g.empty()) {
        nb::gil_scoped_release free;
        status = kernels()->scan(&p);
    } else {
        SeqloomScanGradients gradients = {at<const float>(g.at(0)), at<const float>(g.at(1)), at<float>(g.at(2)),
                                          at<float>(g.at(3)), at<float>(g.at(4))};
        nb::gil_scoped_release free;
        status = kernels()->scan_backward(&p, &gradients);
    }
    check(status);
}

using Array = nb::ndarray<float, nb::c_contig, nb::device::cpu>;

// The layers of a causal stack with their weights packed, for streams.
class Stepper {
   public:
    explicit Stepper(std::int64_t most_rows) : most_rows_(most_rows), kernels_(kernels()) {}
    Stepper(const Stepper&) = delete;
    Stepper& operator=(const Stepper&) = delete;
    ~Stepper() {
        for (Layer& layer : layers_) kernels_->stepper_free(layer.stepper, layer.cell);
    }

    // Weights are copied: addresses w_ih, w_hh, b_ih, b_hh, extra.
    void add(int cell, std::int64_t I, std::int64_t H, int memories, const Addresses& a) {
        SeqloomLayer p = {};
        p.cell = cell, p.I = I, p.H = H;
        p.w_ih = at<const float>(a.at(0)), p.w_hh = at<const float>(a.at(1));
        p.b_ih = at<const float>(a.at(2)), p.b_hh = at<const float>(a.at(3)), p.extra = at<const float>(a.at(4));
        void* stepper = kernels_->stepper(&p, most_rows_);
        if (stepper == nullptr) throw std::bad_alloc();
        layers_.push_back({cell, I, H, memories, stepper});
    }

    // x (rows, T, I) to output (rows, T, H); states: one (1 + memories, rows, H) for each layer, changed in place.
    void run(const Array& x, const std::vector<Array>& states, const Array& output) {
        if (x.ndim() != 3 || output.ndim() != 3 || layers_.empty() || states.size() != layers_.size())
            throw std::invalid_argument("expected x (rows, T, I), a state for each layer, output (rows, T, H)");
        const std::int64_t rows = x.shape(0), T = x.shape(1);
        if (rows > most_rows_ || std::int64_t(x.shape(2)) != layers_.front().I ||
            std::int64_t(output.shape(0)) != rows || std::int64_t(output.shape(1)) != T ||
            std::int64_t(output.shape(2)) != layers_.back().H)
            throw std::invalid_argument("x or output has a shape that does not fit the layers");
        for (std::size_t k = 0; k < layers_.size(); ++k)
            if (states[k].size() != std::size_t((1 + layers_[k].memories) * rows * layers_[k].H))
                throw std::invalid_argument("a state has a size that does not fit its layer");
        const float* from = x.data();
        for (std::size_t k = 0; k < layers_.size(); ++k) {
            const Layer& layer = layers_[k];
            std::vector<float>& buffer = between_[k % 2];
            float* to = output.data();
            if (k + 1 < layers_.size()) {
                buffer.resize(std::size_t(rows * T * layer.H));
                to = buffer.data();
            }
            kernels_->steps(layer.stepper, layer.cell, rows, T, from, states[k].data(), to);
            from = to;
        }
    }

   private:
    struct Layer {
        int cell;
        std::int64_t I, H;
        int memories;
        void* stepper;
    };
    std::int64_t most_rows_;
    const SeqloomKernels* kernels_;
    std::vector<Layer> layers_;
    std::vector<float> between_[2];
};

}  // namespace

NB_MODULE(_native, m) {
    m.def("instruction_sets", &instruction_sets, "Instruction sets that are compiled in and run here, fastest first.");
    m.def("use", &use, "Choose one of them.");
    m.def("instruction_set", [] { return kernels()->name; }, "The one in use.");
    m.def("reserve", [](int cell, std::int64_t H) { return kernels()->reserve(cell, H); });
    m.def("calls", [] { return calls.load(); }, "How often a kernel has run forward in this process.");
    m.def("poison", [](bool on) { seqloom_poison(on); }, "Fill scratch memory with NaN, for tests.");
    m.def("forward", &forward);
    m.def("backward", &backward);
    m.def("scan", &scan);
    nb::class_<Stepper>(m, "Stepper")
        .def(nb::init<std::int64_t>())
        .def("add", &Stepper::add)
        .def("run", &Stepper::run);
}
