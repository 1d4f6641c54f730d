// All kernels for one instruction set. Compiled once for each, with SEQLOOM_ISA and SEQLOOM_SUPPORTED defined.
//
// Everything included here is in an unnamed namespace and uses no inline function of the standard library: were such
// a function compiled for AVX-512, the linker could choose that copy for everybody.
#include "cells/gru.hpp"
#include "cells/layer_norm_gru.hpp"
#include "cells/layer_norm_lstm.hpp"
#include "cells/lstm.hpp"
#include "cells/peephole_lstm.hpp"
#include "cells/rnn.hpp"
#include "cells/slstm.hpp"
#include "limits.hpp"
#include "recurrence.hpp"
#include "scan.hpp"

namespace {

// Calls body with the type that a cell's number means.
template <class Body>
INLINE auto with_cell(std::int32_t cell, const Body& body) {
    switch (cell) {
        case SEQLOOM_GRU: return body(Recurrence<GRU>{});
        case SEQLOOM_RNN: return body(Recurrence<SimpleRNN<false>>{});
        case SEQLOOM_RELU_RNN: return body(Recurrence<SimpleRNN<true>>{});
        case SEQLOOM_PEEPHOLE_LSTM: return body(Recurrence<PeepholeLSTM>{});
        case SEQLOOM_SLSTM: return body(Recurrence<SLSTM>{});
        case SEQLOOM_LAYER_NORM_LSTM: return body(Recurrence<LayerNormLSTM>{});
        case SEQLOOM_LAYER_NORM_GRU: return body(Recurrence<LayerNormGRU>{});
        default: return body(Recurrence<LSTM>{});
    }
}

int supported() { return SEQLOOM_SUPPORTED; }

std::int64_t reserve(std::int32_t cell, std::int64_t H) {
    return with_cell(cell, [&](auto kind) { return std::int64_t(typename decltype(kind)::Sizes(H).reserve); });
}
SeqloomStatus forward(const SeqloomLayer* layer) {
    return with_cell(layer->cell, [&](auto kind) { return kind.forward(*layer); });
}
SeqloomStatus backward(const SeqloomLayer* layer, const SeqloomGradients* gradients) {
    return with_cell(layer->cell, [&](auto kind) { return kind.backward(*layer, *gradients); });
}
// Calls body with the type that a cell's number means and a number of the type that weights are kept in.
template <class Body>
INLINE auto with_numbers(std::int32_t cell, std::int32_t numbers, const Body& body) {
    return with_cell(cell, [&](auto kind) {
        switch (numbers) {
            case SEQLOOM_BFLOAT16: return body(kind, BFloat16{});
            case SEQLOOM_INT8: return body(kind, Int8{});
            default: return body(kind, 0.0f);
        }
    });
}

void* stepper(const SeqloomLayer* layer, std::int32_t numbers, std::int64_t most_rows) {
    return with_numbers(layer->cell, numbers, [&](auto kind, auto number) {
        return decltype(kind)::template stepper<decltype(number)>(*layer, most_rows);
    });
}
void steps(void* stepper, std::int32_t cell, std::int32_t numbers, std::int64_t rows, std::int64_t T, const float* x,
           float* state, float* output) {
    with_numbers(cell, numbers, [&](auto kind, auto number) {
        using Stepper = typename decltype(kind)::template Stepper<decltype(number)>;
        static_cast<Stepper*>(stepper)->run(rows, T, x, state, output);
    });
}
void stepper_free(void* stepper, std::int32_t cell, std::int32_t numbers) {
    with_numbers(cell, numbers, [&](auto kind, auto number) {
        decltype(kind)::template stepper_free<decltype(number)>(stepper);
    });
}

}  // namespace

#define NAME_(isa) seqloom_kernels_##isa
#define NAME(isa) NAME_(isa)
#define TEXT_(isa) #isa
#define TEXT(isa) TEXT_(isa)

extern "C" const SeqloomKernels* NAME(SEQLOOM_ISA)() {
    static const SeqloomKernels kernels = {TEXT(SEQLOOM_ISA), supported,    reserve, forward, backward,
                                           scan_forward,      scan_backward, stepper, steps,   stepper_free,
                                           multiply_adds,     read_rounds};
    return &kernels;
}
