// LSTM with exponential gates: the equations of src/seqloom/cells/slstm.py for one vector of units.
#pragma once

#include "../vec.hpp"

namespace {

struct SLSTM {
    static constexpr int gates = 4;     // i, f, z, o
    static constexpr int memories = 3;  // c, n, m
    static constexpr int extras = 0;
    static constexpr int kept = 8;  // z, o, k, w, sigmoid(-f), c', n', m'
    static constexpr int slopes = 4;
    static constexpr int input_first = 0, recurrent_first = 0;
    static constexpr int input_gate[4] = {0, 1, 2, 3}, recurrent_gate[4] = {0, 1, 2, 3};
    static constexpr int kept_memory[3] = {5, 6, 7};

    static INLINE Vec step(const Vec* x, const Vec* r, Vec, Vec* memory, const float*, Vec* keep) {
        Vec i = x[0] + r[0], f = x[1] + r[1];
        Vec held = log_sigmoid(f) + memory[2];
        Vec m = i > held ? i : held;
        Vec k = exp(held - m), w = exp(i - m);
        Vec z = tanh(x[2] + r[2]), o = sigmoid(x[3] + r[3]);
        Vec c = fma(k, memory[0], w * z);
        Vec n = fma(k, memory[1], w);
        memory[0] = c, memory[1] = n, memory[2] = m;
        keep[0] = z, keep[1] = o, keep[2] = k, keep[3] = w, keep[4] = sigmoid(-f);
        keep[5] = c, keep[6] = n, keep[7] = m;
        return o * c / some(n);
    }

    static INLINE Vec back(const Vec* keep, Vec, const Vec* memory, const float*, Vec dh, Vec* dmemory, Vec* slope) {
        const Vec one = all(1.0f);
        Vec z = keep[0], o = keep[1], k = keep[2], w = keep[3], c = keep[5], n = keep[6];
        Vec share = dh * o / some(n);
        Vec dc = dmemory[0] + share;
        Vec dn = n == 0.0f ? dmemory[1] : dmemory[1] - share * c / some(n);
        Vec dheld = fma(dc, memory[0], dn * memory[1]) * k;
        Vec di = fma(dc, z, dn) * w;
        Vec dm = dmemory[2] - dheld - di;
        // m' is the larger of the two, and its k or w is then exactly 1.
        Vec part = k == 1.0f ? (w == 1.0f ? all(0.5f) : one) : Vec{};
        dheld = fma(part, dm, dheld);
        slope[0] = fma(one - part, dm, di);
        slope[1] = dheld * keep[4];
        slope[2] = dc * w * fma(-z, z, one);
        slope[3] = dh * c / some(n) * o * (one - o);
        dmemory[0] = dc * k, dmemory[1] = dn * k, dmemory[2] = dheld;
        return Vec{};
    }

    static INLINE void back_extra(const Vec*, const Vec*, const Vec*, Vec*) {}

   private:
    static INLINE Vec some(Vec n) { return n == 0.0f ? all(1.0f) : n; }
};

}  // namespace
