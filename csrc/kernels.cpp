// All kernels for one instruction set. Compiled once for each, with SEQLOOM_ISA and SEQLOOM_SUPPORTED defined.
//
// Everything included here is in an unnamed namespace and uses no inline function of the standard library: were such
// a function compiled for AVX-512, the linker could choose that copy for everybody.
#include <type_traits>

#include "backward.hpp"
#include "cells.hpp"
#include "limits.hpp"
#include "scan.hpp"
#include "stepper.hpp"

namespace {

int supported() { return SEQLOOM_SUPPORTED; }

// It needs an instruction for pairs, and a processor that starts one in every cycle: Intel's need two cycles for it.
int bfloat16_pays() {
#if defined(__AVX512BF16__)
    return __builtin_cpu_is("amd");
#else
    return 0;
#endif
}

int tiles() {
#if defined(SEQLOOM_TILES)
    static const int found = __builtin_cpu_supports("amx-bf16") && seqloom_tiles_allowed();
    return found;
#else
    return 0;
#endif
}

std::int64_t reserve(std::int32_t cell, std::int64_t H) {
    return with_cell(cell, [&](auto kind) {
        return std::int64_t(typename Recurrence<decltype(kind)>::Sizes(H).reserve);
    });
}
SeqloomStatus forward(const SeqloomLayer* layer) {
#if defined(SEQLOOM_TILES)
    if (layer->numbers >= SEQLOOM_FLOAT32_TILES) return seqloom_tiles_forward(layer);
#endif
    return with_cell(layer->cell, [&](auto kind) {
        using Layer = Recurrence<decltype(kind)>;
        return layer->numbers == SEQLOOM_BFLOAT16 ? Layer::template forward<Pair>(*layer)
                                                  : Layer::template forward<float>(*layer);
    });
}
SeqloomStatus backward(const SeqloomLayer* layer, const SeqloomGradients* gradients) {
#if defined(SEQLOOM_TILES)
    if (layer->numbers >= SEQLOOM_FLOAT32_TILES) return seqloom_tiles_backward(layer, gradients);
#endif
    return with_cell(layer->cell, [&](auto kind) {
        using Cell = decltype(kind);
        return layer->numbers == SEQLOOM_BFLOAT16 ? Backward<Cell, Pair>::backward(*layer, *gradients)
                                                  : Backward<Cell, float>::backward(*layer, *gradients);
    });
}

// Calls body with a null pointer of the stepper that the numbers of a cell and of SeqloomNumbers mean.
template <class Body>
INLINE auto with_stepper(std::int32_t cell, std::int32_t numbers, const Body& body) {
    return with_cell(cell, [&](auto kind) {
        using Cell = decltype(kind);
        switch (numbers) {
            case SEQLOOM_BFLOAT16: return body(static_cast<Stepper<Cell, Pair>*>(nullptr));
            case SEQLOOM_INT8: return body(static_cast<Stepper<Cell, Eighths>*>(nullptr));
            default: return body(static_cast<Stepper<Cell, float>*>(nullptr));
        }
    });
}

void* stepper(const SeqloomLayer* layer, std::int32_t numbers, std::int64_t most_rows) {
    return with_stepper(layer->cell, numbers, [&](auto kind) -> void* {
        return std::remove_pointer_t<decltype(kind)>::make(*layer, most_rows);
    });
}
void steps(void* stepper, std::int32_t cell, std::int32_t numbers, std::int64_t rows, std::int64_t T, const float* x,
           float* state, float* output) {
    with_stepper(cell, numbers, [&](auto kind) {
        static_cast<decltype(kind)>(stepper)->run(rows, T, x, state, output);
    });
}
void stepper_free(void* stepper, std::int32_t cell, std::int32_t numbers) {
    with_stepper(cell, numbers, [&](auto kind) {
        std::remove_pointer_t<decltype(kind)>::free(static_cast<decltype(kind)>(stepper));
    });
}

}  // namespace

#define NAME_(isa) seqloom_kernels_##isa
#define NAME(isa) NAME_(isa)
#define TEXT_(isa) #isa
#define TEXT(isa) TEXT_(isa)

extern "C" const SeqloomKernels* NAME(SEQLOOM_ISA)() {
    static const SeqloomKernels kernels = {TEXT(SEQLOOM_ISA), supported, bfloat16_pays, tiles,
                                           reserve,           forward,   backward,      scan_forward,
                                           scan_backward,     stepper,   steps,         stepper_free,
                                           multiply_adds,     read_rounds};
    return &kernels;
}
