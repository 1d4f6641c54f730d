// The LSTM whose gates see the memory: src/seqloom/cells/peephole_lstm.py for one vector of units.
#pragma once

#include "../vec.hpp"

namespace {

struct PeepholeLSTM {
    static constexpr int gates = 4, memories = 1;
    static constexpr int extras = 3;  // p_i, p_f, p_o
    static constexpr int kept = 5;    // i, f, g, o, c'
    static constexpr int slopes = 4;
    static constexpr int input_first = 0, recurrent_first = 0;
    static constexpr int input_gate[4] = {0, 1, 2, 3}, recurrent_gate[4] = {0, 1, 2, 3};
    static constexpr int kept_memory[1] = {4};

    static INLINE Vec step(const Vec* x, const Vec* r, Vec, Vec* memory, const float* extra, Vec* keep) {
        Vec p_i = load(extra), p_f = load(extra + LANES), p_o = load(extra + 2 * LANES);
        Vec i = sigmoid(fma(p_i, memory[0], x[0] + r[0]));
        Vec f = sigmoid(fma(p_f, memory[0], x[1] + r[1]));
        Vec g = tanh(x[2] + r[2]);
        Vec c = fma(f, memory[0], i * g);
        Vec o = sigmoid(fma(p_o, c, x[3] + r[3]));
        memory[0] = c;
        keep[0] = i, keep[1] = f, keep[2] = g, keep[3] = o, keep[4] = c;
        return o * tanh(c);
    }

    static INLINE Vec back(const Vec* keep, Vec, const Vec* memory, const float* extra, Vec dh, Vec* dmemory,
                           Vec* slope) {
        const Vec one = all(1.0f);
        Vec p_i = load(extra), p_f = load(extra + LANES), p_o = load(extra + 2 * LANES);
        Vec i = keep[0], f = keep[1], g = keep[2], o = keep[3];
        Vec t = tanh(keep[4]);
        slope[3] = dh * t * o * (one - o);
        Vec dc = fma(dh * o, fma(-t, t, one), fma(slope[3], p_o, dmemory[0]));
        slope[0] = dc * g * i * (one - i);
        slope[1] = dc * memory[0] * f * (one - f);
        slope[2] = dc * i * fma(-g, g, one);
        dmemory[0] = fma(slope[0], p_i, fma(slope[1], p_f, dc * f));
        return Vec{};
    }

    static INLINE void back_extra(const Vec* keep, const Vec* memory, const Vec* slope, Vec* dextra) {
        dextra[0] = fma(slope[0], memory[0], dextra[0]);
        dextra[1] = fma(slope[1], memory[0], dextra[1]);
        dextra[2] = fma(slope[3], keep[4], dextra[2]);
    }
};

}  // namespace
