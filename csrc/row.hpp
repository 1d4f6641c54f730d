// Cells that look at a whole row of units before any unit can take its step: what they are shown, and the norm.
//
// Blocks of LANES units lie one after another, each with its vectors side by side; lanes beyond the last unit hold
// zeros wherever a sum over the row reads them. Sums run over the blocks in order and then over the lanes, always in
// the same pairs, so a row's result does not depend on anything around it.
#pragma once

#include "vec.hpp"

namespace {

// A step forward: `sums` are W_h h (blocks, G, LANES), and `keep` (blocks, K, LANES) holds W_i x in its first G
// vectors. Behind the blocks `keep` has one more vector, for numbers that the row has once.
struct RowStep {
    std::ptrdiff_t H;
    const float *sums, *h, *b_ih, *b_hh, *extra;
    float *memory, *keep, *output;
};

// A step back: `dh` is the gradient of the output and becomes what flows to h past the weights; `dmemory` is that of
// the memories after the step and becomes that of those before it.
struct RowBack {
    std::ptrdiff_t H;
    const float *keep, *h, *extra;
    float *dh, *dmemory, *slopes;
};

INLINE std::ptrdiff_t blocks_of(std::ptrdiff_t H) { return (H + LANES - 1) / LANES; }

// The lanes of a block that are units, zeros behind them.
INLINE Vec units_only(Vec value, std::ptrdiff_t H, std::ptrdiff_t block) {
    const std::ptrdiff_t left = H - block * LANES;
    if (left >= LANES) return value;
    float lanes[LANES];
    store(lanes, value);
    return load_some(lanes, left);
}

// What G gates of a block get of one product: gain * norm + shift.
template <int G>
INLINE void scale_and_shift(const float* gains, const float* normed, const float* shifts, Vec* to) {
    for (int g = 0; g < G; ++g) to[g] = fma(load(gains + g * LANES), load(normed + g * LANES), load(shifts + g * LANES));
}

INLINE float sum_of_lanes(Vec value) {
    float lanes[LANES];
    store(lanes, value);
#pragma GCC unroll 4
    for (int half = LANES / 2; half > 0; half /= 2)
#pragma GCC unroll 8
        for (int k = 0; k < half; ++k) lanes[k] += lanes[k + half];
    return lanes[0];
}

template <int WIDTH>
INLINE float sum_of(const Vec* sums) {
    Vec total = sums[0];
    for (int v = 1; v < WIDTH; ++v) total += sums[v];
    return sum_of_lanes(total);
}

// (v - mean(v)) / sqrt(var(v) + 1e-5) over WIDTH vectors of each block; gives 1 / sqrt(var(v) + 1e-5).
template <int WIDTH>
INLINE float normalise(const float* from, std::ptrdiff_t from_stride, float* to, std::ptrdiff_t to_stride,
                       std::ptrdiff_t H) {
    const std::ptrdiff_t blocks = blocks_of(H);
    const float count = float(WIDTH * H);
    Vec sums[WIDTH] = {}, squares[WIDTH] = {};
    for (std::ptrdiff_t block = 0; block < blocks; ++block)
        for (int v = 0; v < WIDTH; ++v) sums[v] += load(from + block * from_stride + v * LANES);
    const Vec mean = all(sum_of<WIDTH>(sums) / count);
    for (std::ptrdiff_t block = 0; block < blocks; ++block)
        for (int v = 0; v < WIDTH; ++v) {
            Vec apart = units_only(load(from + block * from_stride + v * LANES) - mean, H, block);
            squares[v] = fma(apart, apart, squares[v]);
            store(to + block * to_stride + v * LANES, apart);
        }
    const float rate = 1.0f / __builtin_sqrtf(sum_of<WIDTH>(squares) / count + 1e-5f);
    for (std::ptrdiff_t block = 0; block < blocks; ++block)
        for (int v = 0; v < WIDTH; ++v) {
            float* at = to + block * to_stride + v * LANES;
            store(at, load(at) * all(rate));
        }
    return rate;
}

// The gradient g of the normalised n becomes that of what was normalised: rate * (g - mean(g) - n * mean(g * n)).
template <int WIDTH>
INLINE void normalise_back(const float* normed, std::ptrdiff_t normed_stride, float* slope, std::ptrdiff_t slope_stride,
                           float rate, std::ptrdiff_t H) {
    const std::ptrdiff_t blocks = blocks_of(H);
    const float count = float(WIDTH * H);
    Vec sums[WIDTH] = {}, products[WIDTH] = {};
    for (std::ptrdiff_t block = 0; block < blocks; ++block)
        for (int v = 0; v < WIDTH; ++v) {
            Vec g = load(slope + block * slope_stride + v * LANES);
            sums[v] += g;
            products[v] = fma(g, load(normed + block * normed_stride + v * LANES), products[v]);
        }
    const Vec mean = all(sum_of<WIDTH>(sums) / count), along = all(sum_of<WIDTH>(products) / count);
    for (std::ptrdiff_t block = 0; block < blocks; ++block)
        for (int v = 0; v < WIDTH; ++v) {
            float* at = slope + block * slope_stride + v * LANES;
            Vec rest = fma(-along, load(normed + block * normed_stride + v * LANES), load(at) - mean);
            store(at, units_only(rest * all(rate), H, block));
        }
}

}  // namespace
