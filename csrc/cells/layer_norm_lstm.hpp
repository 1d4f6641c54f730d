// LSTM with layer normalisation: the equations of src/seqloom/cells/layer_norm_lstm.py for one row.
#pragma once

#include "../row.hpp"

namespace {

struct LayerNormLSTM {
    static constexpr bool whole_row = true;
    static constexpr int gates = 4, memories = 1;
    static constexpr int extras = 10;  // a_i by gate, a_h by gate, a_c, b_c
    static constexpr int kept = 14;    // u by gate, v by gate, i, f, g, o, c', norm(c'); once a row: rates of u, v, c'
    static constexpr int slopes = 13;  // of W_i x, of W_h h and of the gates by gate, and of what the last tanh reads
    static constexpr int input_first = 0, recurrent_first = 4;
    static constexpr int input_bias_first = 8, recurrent_bias_first = 8;  // shifts are added behind the norms
    static constexpr int input_gate[4] = {0, 1, 2, 3}, recurrent_gate[4] = {0, 1, 2, 3};
    static constexpr int kept_memory[1] = {12};

    static void step_row(const RowStep& row) {
        constexpr std::ptrdiff_t each = kept * LANES;
        const std::ptrdiff_t blocks = blocks_of(row.H);
        float* rates = row.keep + blocks * each;
        rates[0] = normalise<4>(row.keep, each, row.keep, each, row.H);
        rates[1] = normalise<4>(row.sums, 4 * LANES, row.keep + 4 * LANES, each, row.H);
        for (std::ptrdiff_t block = 0; block < blocks; ++block) {
            float* keep = row.keep + block * each;
            const float* gains = row.extra + block * extras * LANES;
            Vec x[4], h[4];
            scale_and_shift<4>(gains, keep, row.b_ih + block * 4 * LANES, x);
            scale_and_shift<4>(gains + 4 * LANES, keep + 4 * LANES, row.b_hh + block * 4 * LANES, h);
            Vec i = sigmoid(x[0] + h[0]), f = sigmoid(x[1] + h[1]), g = tanh(x[2] + h[2]), o = sigmoid(x[3] + h[3]);
            Vec c = fma(f, load(row.memory + block * LANES), i * g);
            store(keep + 8 * LANES, i), store(keep + 9 * LANES, f), store(keep + 10 * LANES, g);
            store(keep + 11 * LANES, o), store(keep + 12 * LANES, c);
            store(row.memory + block * LANES, units_only(c, row.H, block));
        }
        rates[2] = normalise<1>(row.memory, LANES, row.keep + 13 * LANES, each, row.H);
        for (std::ptrdiff_t block = 0; block < blocks; ++block) {
            const float *keep = row.keep + block * each, *extra = row.extra + block * extras * LANES;
            Vec read = fma(load(extra + 8 * LANES), load(keep + 13 * LANES), load(extra + 9 * LANES));
            store_some(row.output + block * LANES, load(keep + 11 * LANES) * tanh(read), row.H - block * LANES);
        }
    }

    // before(block, memory): the memory before the step.
    template <class Before>
    static void back_row(const RowBack& row, const Before& before) {
        constexpr std::ptrdiff_t each = kept * LANES, slope_each = slopes * LANES;
        const std::ptrdiff_t blocks = blocks_of(row.H);
        const float* rates = row.keep + blocks * each;
        const Vec one = all(1.0f);
        for (std::ptrdiff_t block = 0; block < blocks; ++block) {
            const float *keep = row.keep + block * each, *extra = row.extra + block * extras * LANES;
            float* slope = row.slopes + block * slope_each;
            Vec dh = load(row.dh + block * LANES), o = load(keep + 11 * LANES), gain = load(extra + 8 * LANES);
            Vec t = tanh(fma(gain, load(keep + 13 * LANES), load(extra + 9 * LANES)));
            Vec read = dh * o * fma(-t, t, one);
            store(slope, read * gain);
            store(slope + 11 * LANES, dh * t * o * (one - o));
            store(slope + 12 * LANES, read);
        }
        normalise_back<1>(row.keep + 13 * LANES, each, row.slopes, slope_each, rates[2], row.H);
        for (std::ptrdiff_t block = 0; block < blocks; ++block) {
            const float *keep = row.keep + block * each, *extra = row.extra + block * extras * LANES;
            float *slope = row.slopes + block * slope_each, *dmemory = row.dmemory + block * LANES;
            Vec i = load(keep + 8 * LANES), f = load(keep + 9 * LANES), g = load(keep + 10 * LANES), memory[1];
            before(block, memory);
            Vec dc = load(dmemory) + load(slope);
            Vec gate[4] = {dc * g * i * (one - i), dc * memory[0] * f * (one - f), dc * i * fma(-g, g, one),
                           load(slope + 11 * LANES)};
            store(dmemory, dc * f);
            store(row.dh + block * LANES, Vec{});
            for (int k = 0; k < 4; ++k) {
                store(slope + k * LANES, gate[k] * load(extra + k * LANES));
                store(slope + (4 + k) * LANES, gate[k] * load(extra + (4 + k) * LANES));
                store(slope + (8 + k) * LANES, gate[k]);
            }
        }
        normalise_back<4>(row.keep, each, row.slopes, slope_each, rates[0], row.H);
        normalise_back<4>(row.keep + 4 * LANES, each, row.slopes + 4 * LANES, slope_each, rates[1], row.H);
    }

    static INLINE void back_extra(const Vec* keep, const Vec*, const Vec* slope, Vec* dextra) {
        for (int k = 0; k < 8; ++k) dextra[k] = fma(slope[8 + k % 4], keep[k], dextra[k]);
        dextra[8] = fma(slope[12], keep[13], dextra[8]);
        dextra[9] += slope[12];
    }
};

}  // namespace
