// Gated recurrent unit: the equations of src/seqloom/cells/gru.py for one vector of units.
#pragma once

#include "../vec.hpp"

namespace {

struct GRU {
    static constexpr int gates = 3;  // r, z, n
    static constexpr int memories = 0, extras = 0;
    static constexpr int kept = 4;    // r, z, n, W_hn h + b_hn
    static constexpr int slopes = 4;  // n, r, z, and n times r: the input reads the first three, h the last three
    static constexpr int input_first = 0, recurrent_first = 1;
    static constexpr int input_gate[3] = {2, 0, 1}, recurrent_gate[3] = {0, 1, 2};
    static constexpr int kept_memory[1] = {0};

    static INLINE Vec step(const Vec* x, const Vec* r_, Vec h, Vec* /*memory*/, const float* /*extra*/, Vec* keep) {
        Vec r = sigmoid(x[0] + r_[0]);
        Vec z = sigmoid(x[1] + r_[1]);
        Vec n = tanh(fma(r, r_[2], x[2]));
        keep[0] = r, keep[1] = z, keep[2] = n, keep[3] = r_[2];
        return fma(z, h - n, n);  // (1 - z) n + z h
    }

    static INLINE Vec back(const Vec* keep, Vec h, const Vec* /*memory*/, const float* /*extra*/, Vec dh,
                           Vec* /*dmemory*/, Vec* slope) {
        const Vec one = all(1.0f);
        Vec r = keep[0], z = keep[1], n = keep[2];
        Vec dn = dh * (one - z) * fma(-n, n, one);
        slope[0] = dn;
        slope[1] = dn * keep[3] * r * (one - r);
        slope[2] = dh * (h - n) * z * (one - z);
        slope[3] = dn * r;
        return dh * z;
    }

    static INLINE void back_extra(const Vec*, const Vec*, const Vec*, Vec*) {}
};

}  // namespace
