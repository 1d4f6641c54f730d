// Steps of a layer with weights that were packed once, for streams.
#pragma once

#include <new>

#include "recurrence.hpp"

namespace {

// Everything that a stream needs again and again. The code is that of `forward`, and with weights in float32 so are the
// bits of its results.
template <class Cell, class Number>
struct Stepper {
    using Layer = Recurrence<Cell>;

    Scratch scratch;
    SeqloomLayer layer;
    typename Layer::Sizes sizes;
    typename Layer::template Weights<Number> weights;
    Size* rows;
    std::int64_t* lengths;
    typename Layer::template Buffers<Number> buffers;

    Stepper(const SeqloomLayer& p, Size most)
        : layer(p),
          sizes(p.H),
          weights(p.I, sizes, scratch),
          rows(scratch.take<Size>(most)),
          lengths(scratch.take<std::int64_t>(most)),
          buffers(Layer::template buffers<Number>(most, p.I, sizes, scratch)) {
        if (scratch.failed) return;
        weights.fill(p, sizes, 0, 1);
        for (Size r = 0; r < most; ++r) rows[r] = r;
    }

    static Stepper* make(const SeqloomLayer& p, Size most) {
        void* memory = seqloom_alloc(sizeof(Stepper));
        if (memory == nullptr) return nullptr;
        Stepper* made = new (memory) Stepper(p, most);
        if (!made->scratch.failed) return made;
        free(made);
        return nullptr;
    }

    static void free(Stepper* stepper) {
        stepper->~Stepper();
        seqloom_free(stepper, sizeof(Stepper));
    }

    // x (count, T, I) to output (count, T, H); the state (1 + M, count, H) is changed in place.
    void run(Size count, Size T, const float* x, float* state, float* output) {
        SeqloomLayer p = layer;
        p.B = count, p.T = T;
        p.x = x, p.x_row = T * p.I, p.x_step = p.I;
        p.state = state, p.final_state = state;
        p.output = output, p.output_row = T * p.H, p.output_step = p.H;
        p.reserve = nullptr, p.reverse = 0, p.lengths = lengths;
        for (Size r = 0; r < count; ++r) lengths[r] = T;
        TileUse use;
        Layer::forward_team(p, sizes, weights, {rows, count, 0, 1, nullptr}, buffers);
    }
};

}  // namespace
