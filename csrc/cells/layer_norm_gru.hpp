// GRU with layer normalisation: the equations of src/seqloom/cells/layer_norm_gru.py for one row.
#pragma once

#include "../row.hpp"

namespace {

struct LayerNormGRU {
    static constexpr bool whole_row = true;
    static constexpr int gates = 3, memories = 0;  // r, z, n
    static constexpr int extras = 6;               // a_i by gate, a_h by gate
    static constexpr int kept = 10;  // both products normalised, by gate; r, z, n, a_hn * norm(W_hn h) + b_hn;
                                     // once a row: rates of r and z together and of n, for x and for h
    static constexpr int slopes = 10;  // of W_i x: n, r, z; of W_h h: r, z, n; before the nonlinearities as in gru.hpp
    static constexpr int input_first = 0, recurrent_first = 3;
    static constexpr int input_bias_first = 6, recurrent_bias_first = 7;  // shifts are added behind the norms
    static constexpr int input_gate[3] = {2, 0, 1}, recurrent_gate[3] = {0, 1, 2};
    static constexpr int kept_memory[1] = {0};

    static void step_row(const RowStep& row) {
        constexpr std::ptrdiff_t each = kept * LANES;
        const std::ptrdiff_t blocks = blocks_of(row.H);
        float *rates = row.keep + blocks * each, *x = row.keep, *h = row.keep + 3 * LANES;
        rates[0] = normalise<2>(x, each, x, each, row.H);
        rates[1] = normalise<1>(x + 2 * LANES, each, x + 2 * LANES, each, row.H);
        rates[2] = normalise<2>(row.sums, 3 * LANES, h, each, row.H);
        rates[3] = normalise<1>(row.sums + 2 * LANES, 3 * LANES, h + 2 * LANES, each, row.H);
        for (std::ptrdiff_t block = 0; block < blocks; ++block) {
            float* keep = row.keep + block * each;
            const float* gains = row.extra + block * extras * LANES;
            Vec from_x[3], from_h[3];
            scale_and_shift<3>(gains, keep, row.b_ih + block * 3 * LANES, from_x);
            scale_and_shift<3>(gains + 3 * LANES, keep + 3 * LANES, row.b_hh + block * 3 * LANES, from_h);
            Vec r = sigmoid(from_x[0] + from_h[0]), z = sigmoid(from_x[1] + from_h[1]);
            Vec n = tanh(fma(r, from_h[2], from_x[2]));
            Vec before = load_some(row.h + block * LANES, row.H - block * LANES);
            store(keep + 6 * LANES, r), store(keep + 7 * LANES, z), store(keep + 8 * LANES, n);
            store(keep + 9 * LANES, from_h[2]);
            store_some(row.output + block * LANES, fma(z, before - n, n), row.H - block * LANES);
        }
    }

    template <class Before>
    static void back_row(const RowBack& row, const Before&) {
        constexpr std::ptrdiff_t each = kept * LANES, slope_each = slopes * LANES;
        const std::ptrdiff_t blocks = blocks_of(row.H);
        const float* rates = row.keep + blocks * each;
        const Vec one = all(1.0f);
        for (std::ptrdiff_t block = 0; block < blocks; ++block) {
            const float *keep = row.keep + block * each, *extra = row.extra + block * extras * LANES;
            float *slope = row.slopes + block * slope_each, *dh = row.dh + block * LANES;
            Vec r = load(keep + 6 * LANES), z = load(keep + 7 * LANES), n = load(keep + 8 * LANES);
            Vec h = load_some(row.h + block * LANES, row.H - block * LANES), dy = load(dh);
            Vec dn = dy * (one - z) * fma(-n, n, one);
            Vec gate[4] = {dn, dn * load(keep + 9 * LANES) * r * (one - r), dy * (h - n) * z * (one - z), dn * r};
            store(dh, dy * z);
            for (int k = 0; k < 3; ++k) {
                store(slope + k * LANES, gate[k] * load(extra + input_gate[k] * LANES));
                store(slope + (3 + k) * LANES, gate[1 + k] * load(extra + (3 + k) * LANES));
            }
            for (int k = 0; k < 4; ++k) store(slope + (6 + k) * LANES, gate[k]);
        }
        const float *x = row.keep, *h = row.keep + 3 * LANES;
        float *dx = row.slopes, *dh = row.slopes + 3 * LANES;
        normalise_back<2>(x, each, dx + LANES, slope_each, rates[0], row.H);
        normalise_back<1>(x + 2 * LANES, each, dx, slope_each, rates[1], row.H);
        normalise_back<2>(h, each, dh, slope_each, rates[2], row.H);
        normalise_back<1>(h + 2 * LANES, each, dh + 2 * LANES, slope_each, rates[3], row.H);
    }

    static INLINE void back_extra(const Vec* keep, const Vec*, const Vec* slope, Vec* dextra) {
        const Vec* before = slope + 6;
        for (int k = 0; k < 3; ++k) dextra[input_gate[k]] = fma(before[k], keep[input_gate[k]], dextra[input_gate[k]]);
        for (int k = 0; k < 3; ++k) dextra[3 + k] = fma(before[1 + k], keep[3 + k], dextra[3 + k]);
    }
};

}  // namespace
