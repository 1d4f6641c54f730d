// The simple recurrent network: src/seqloom/cells/rnn.py and relu_rnn.py for one vector of units.
#pragma once

#include "../vec.hpp"

namespace {

template <bool RELU>
struct SimpleRNN {
    static constexpr int gates = 1, memories = 0, extras = 0;
    static constexpr int kept = 1;  // h'
    static constexpr int slopes = 1;
    static constexpr int input_first = 0, recurrent_first = 0;
    static constexpr int input_gate[1] = {0}, recurrent_gate[1] = {0};
    static constexpr int kept_memory[1] = {0};

    static INLINE Vec step(const Vec* x, const Vec* r, Vec, Vec*, const float*, Vec* keep) {
        Vec sum = x[0] + r[0];
        if constexpr (RELU)
            keep[0] = sum < 0.0f ? Vec{} : sum;  // NaN stays NaN
        else
            keep[0] = tanh(sum);
        return keep[0];
    }

    static INLINE Vec back(const Vec* keep, Vec, const Vec*, const float*, Vec dh, Vec*, Vec* slope) {
        if constexpr (RELU)
            slope[0] = keep[0] > 0.0f ? dh : Vec{};
        else
            slope[0] = dh * fma(-keep[0], keep[0], all(1.0f));
        return Vec{};
    }

    static INLINE void back_extra(const Vec*, const Vec*, const Vec*, Vec*) {}
};

}  // namespace
