// The Python module: addresses and sizes in, nothing of torch.
//
// Layers come as addresses that the caller has checked (type, shape, strides); the interpreter's lock is released
// while they run. Streams come as NumPy arrays, since theirs is the call that must cost nothing.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <atomic>
#include <cstring>
#include <memory>
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
SeqloomLayer layer_of(int cell, int numbers, int threads, bool reverse, const std::vector<std::int64_t>& sizes,
                      const Addresses& a) {
    SeqloomLayer p = {};
    p.cell = cell, p.numbers = numbers, p.threads = threads, p.reverse = reverse;
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

void forward(int cell, int numbers, int threads, bool reverse, const std::vector<std::int64_t>& sizes,
             const Addresses& addresses) {
    SeqloomLayer layer = layer_of(cell, numbers, threads, reverse, sizes, addresses);
    ++calls;
    SeqloomStatus status;
    {
        nb::gil_scoped_release free;
        status = kernels()->forward(&layer);
    }
    check(status);
}

// gradients: d_output, d_final, d_x, d_w_ih, d_w_hh, d_b_ih, d_b_hh, d_extra, d_state.
void backward(int cell, int numbers, int threads, bool reverse, const std::vector<std::int64_t>& sizes,
              const Addresses& addresses, const Addresses& g, std::int64_t d_output_row, std::int64_t d_output_step) {
    SeqloomLayer layer = layer_of(cell, numbers, threads, reverse, sizes, addresses);
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

// A tensor of the kernels' own memory, which goes back to them when the last one that looks at it is gone.
nb::ndarray<nb::pytorch, float, nb::ndim<1>> empty(std::size_t numbers) {
    struct Block {
        void* memory;
        std::size_t bytes;
        ~Block() { seqloom_free(memory, bytes); }
    };
    const std::size_t bytes = numbers * sizeof(float);
    std::unique_ptr<Block> block(new Block{seqloom_alloc(bytes), bytes});
    if (block->memory == nullptr) throw std::bad_alloc();
    float* first = static_cast<float*>(block->memory);
    nb::capsule owner(block.get(), [](void* block) noexcept { delete static_cast<Block*>(block); });
    block.release();
    return {first, {numbers}, owner};
}

// sizes: B, T, H, then the strides a_row, a_step. addresses: lengths, a, b, h, output, final_state; gradients:
// d_output, d_final, d_a, d_b, d_h, or none.
void scan(int threads, bool rectified, const std::vector<std::int64_t>& sizes, const Addresses& a, const Addresses& g) {
    SeqloomScan p = {};
    p.threads = threads, p.rectified = rectified;
    p.B = sizes.at(0), p.T = sizes.at(1), p.H = sizes.at(2), p.a_row = sizes.at(3), p.a_step = sizes.at(4);
    p.lengths = at<const std::int64_t>(a.at(0));
    p.a = at<const float>(a.at(1)), p.b = at<const float>(a.at(2)), p.h = at<const float>(a.at(3));
    p.output = at<float>(a.at(4)), p.final_state = at<float>(a.at(5));
    SeqloomStatus status;
    if (g.empty()) {
        ++calls;
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

// A NumPy array of float32, dense, for as long as it is in scope. The buffer protocol costs a tenth of a microsecond.
class Buffer {
   public:
    Buffer(nb::handle array, bool written) {
        const int flags = PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | (written ? PyBUF_WRITABLE : 0);
        if (PyObject_GetBuffer(array.ptr(), &view_, flags) != 0) throw nb::python_error();
        if (view_.itemsize != 4 || view_.format == nullptr || view_.format[0] != 'f') {
            PyBuffer_Release(&view_);
            throw std::invalid_argument("expected a dense array of float32");
        }
    }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    ~Buffer() { PyBuffer_Release(&view_); }
    float* data() const { return static_cast<float*>(view_.buf); }
    std::int64_t size() const { return view_.len / 4; }

   private:
    Py_buffer view_;
};

// Bytes read, each thread reading its own part of the memory so many times.
std::int64_t read_rounds(int threads, nb::handle memory, std::int64_t rounds) {
    Buffer buffer(memory, false);
    if (threads < 1) throw std::invalid_argument("expected one thread or more");
    nb::gil_scoped_release free;
    return kernels()->read_rounds(threads, buffer.data(), buffer.size() / threads, rounds);
}

std::int64_t multiply_adds(int threads, std::int64_t rounds) {
    nb::gil_scoped_release free;
    return kernels()->multiply_adds(threads, rounds);
}

// One layer with its weights packed, for streams. One caller at a time.
class Stepper {
   public:
    // Weights are copied: addresses w_ih, w_hh, b_ih, b_hh, extra.
    Stepper(int cell, int numbers, std::int64_t I, std::int64_t H, int memories, std::int64_t most_rows,
            const Addresses& a)
        : kernels_(kernels()), cell_(cell), numbers_(numbers), I_(I), H_(H), parts_(std::size_t(1 + memories)), most_rows_(most_rows) {
        SeqloomLayer layer = {};
        layer.cell = cell, layer.I = I, layer.H = H;
        layer.w_ih = at<const float>(a.at(0)), layer.w_hh = at<const float>(a.at(1));
        layer.b_ih = at<const float>(a.at(2)), layer.b_hh = at<const float>(a.at(3));
        layer.extra = at<const float>(a.at(4));
        stepper_ = kernels_->stepper(&layer, numbers, most_rows);
        if (stepper_ == nullptr) throw std::bad_alloc();
        state_.resize(parts_ * std::size_t(most_rows * H));
    }
    Stepper(const Stepper&) = delete;
    Stepper& operator=(const Stepper&) = delete;
    ~Stepper() { kernels_->stepper_free(stepper_, cell_, numbers_); }

    // x (rows, I) to output (rows, H); the arrays of the state, (rows, H) each, are overwritten.
    void step(nb::handle x, nb::list state, nb::handle output) {
        Buffer in(x, false), out(output, true);
        const std::int64_t rows = out.size() / H_;
        if (rows > most_rows_ || in.size() != rows * I_ || out.size() != rows * H_ || state.size() != parts_)
            throw std::invalid_argument("x, state and output do not fit each other");
        const std::size_t part = std::size_t(rows * H_);
        for (std::size_t k = 0; k < parts_; ++k) copy_state(state[k], k * part, part, false);
        kernels_->steps(stepper_, cell_, numbers_, rows, 1, in.data(), state_.data(), out.data());
        for (std::size_t k = 0; k < parts_; ++k) copy_state(state[k], k * part, part, true);
    }

   private:
    void copy_state(nb::handle array, std::size_t offset, std::size_t numbers, bool back) {
        Buffer buffer(array, back);
        if (buffer.size() != std::int64_t(numbers)) throw std::invalid_argument("a part of the state has another size");
        float* own = state_.data() + offset;
        std::memcpy(back ? buffer.data() : own, back ? own : buffer.data(), numbers * sizeof(float));
    }

    const SeqloomKernels* kernels_;
    int cell_, numbers_;
    std::int64_t I_, H_;
    std::size_t parts_;
    std::int64_t most_rows_;
    void* stepper_;
    std::vector<float> state_;
};

}  // namespace

NB_MODULE(_native, m) {
    m.def("instruction_sets", &instruction_sets, "Instruction sets that are compiled in and run here, fastest first.");
    m.def("use", &use, "Choose one of them.");
    m.def("instruction_set", [] { return kernels()->name; }, "The one in use.");
    m.def("bfloat16_pays", [] { return kernels()->bfloat16_pays() != 0; }, "Whether its products are the faster ones.");
    m.def("tiles", [] { return kernels()->tiles() != 0; }, "Whether layers can multiply through tiles.");
    m.def("reserve", [](int cell, std::int64_t H) { return kernels()->reserve(cell, H); });
    m.def("calls", [] { return calls.load(); }, "How often a kernel has run forward in this process.");
    m.def("poison", [](bool on) { seqloom_poison(on); }, "Fill scratch memory with NaN, for tests.");
    m.def("use_own_pool", [](bool on) { seqloom_use_own_pool(on); }, "Leave torch's threads alone, for tests.");
    m.def("empty", &empty, "A tensor of so many numbers, in memory that is kept for the next call when it is freed.");
    m.def("forget", &seqloom_forget, "Give kept memory back to the system.");
    m.def("memory", [] {
        const SeqloomMemory memory = seqloom_memory();
        return std::vector<std::size_t>{memory.used, memory.kept, memory.most};
    }, "Bytes of large blocks in use, kept, and the most that were in use together.");
    m.def("forward", &forward);
    m.def("backward", &backward);
    m.def("scan", &scan);
    m.def("multiply_adds", &multiply_adds, "Multiply-adds on registers, for benchmarks: the operations done.");
    m.def("read_rounds", &read_rounds, "Rows of memory read over and over, for benchmarks: the bytes read.");
    nb::class_<Stepper>(m, "Stepper")
        .def(nb::init<int, int, std::int64_t, std::int64_t, int, std::int64_t, const Addresses&>())
        .def("step", &Stepper::step);
}
