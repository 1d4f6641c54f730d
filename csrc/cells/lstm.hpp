// Long short-term memory: the equations of src/seqloom/cells/lstm.py for one vector of units.
#pragma once

#include "../vec.hpp"

namespace {

struct LSTM {
    static constexpr int gates = 4;     // i, f, g, o, as the weights are stacked
    static constexpr int memories = 1;  // c: what is carried besides h
    static constexpr int extras = 0;    // weights of one number a unit
    static constexpr int kept = 5;      // i, f, g, o, c': what the way back needs
    static constexpr int slopes = 4;    // gradients before the nonlinearities
    static constexpr int input_first = 0, recurrent_first = 0;  // where the gates' slopes begin
    static constexpr int input_gate[4] = {0, 1, 2, 3}, recurrent_gate[4] = {0, 1, 2, 3};
    static constexpr int kept_memory[1] = {4};  // where `kept` holds each memory after the step

    // x: W_i x + b_i; r: W_h h + b_h; both by gate.
    static INLINE Vec step(const Vec* x, const Vec* r, Vec /*h*/, Vec* memory, const float* /*extra*/, Vec* keep) {
        Vec i = sigmoid(x[0] + r[0]);
        Vec f = sigmoid(x[1] + r[1]);
        Vec g = tanh(x[2] + r[2]);
        Vec o = sigmoid(x[3] + r[3]);
        Vec c = fma(f, memory[0], i * g);
        memory[0] = c;
        keep[0] = i, keep[1] = f, keep[2] = g, keep[3] = o, keep[4] = c;
        return o * tanh(c);
    }

    // dh, dmemory: gradients of the step's outcomes; on return dmemory is that of the memory before the step, and
    // the result is what flows to h before the step past the weights.
    static INLINE Vec back(const Vec* keep, Vec /*h*/, const Vec* memory, const float* /*extra*/, Vec dh, Vec* dmemory,
                           Vec* slope) {
        const Vec one = all(1.0f);
        Vec i = keep[0], f = keep[1], g = keep[2], o = keep[3];
        Vec t = tanh(keep[4]);
        Vec dc = fma(dh * o, fma(-t, t, one), dmemory[0]);
        slope[0] = dc * g * i * (one - i);
        slope[1] = dc * memory[0] * f * (one - f);
        slope[2] = dc * i * fma(-g, g, one);
        slope[3] = dh * t * o * (one - o);
        dmemory[0] = dc * f;
        return Vec{};
    }

    static INLINE void back_extra(const Vec*, const Vec*, const Vec*, Vec*) {}
};

}  // namespace
