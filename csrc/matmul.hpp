// Products of rows with packed weights, and sums of outer products: all the multiplication there is.
//
// All loops count elements: numbers, or pairs of them, see numbers.hpp.
//
// Each number is summed over k = 0, 1, 2, ... in the same order and in the same stretches of about CHAIN numbers,
// whatever tile it falls into. So no result depends on its neighbours in the batch, on padding, on chunks or on
// threads. Summing stretches apart keeps the rounding error small: one long chain loses a bit for every factor of four.
#pragma once

#include "numbers.hpp"

namespace {

constexpr std::ptrdiff_t CHAIN = 128;

// How a row is read: `blocks` stretches of `inner` numbers, `stride` apart.
struct Run {
    std::ptrdiff_t blocks, stride, inner;
    std::ptrdiff_t length() const { return blocks * inner; }
};

INLINE Run dense(std::ptrdiff_t length) { return {1, 0, length}; }

// The stretch that is summed by itself: a part of a block, or several whole blocks.
INLINE Run piece_of(Run run) {
    if (run.inner >= CHAIN) return {1, run.stride, CHAIN};
    return {run.inner > 0 ? CHAIN / run.inner : 1, run.stride, run.inner > 0 ? run.inner : 1};
}

// totals[r][p][v] += one stretch of MR rows, from `base` on, times P neighbouring panels of NV vectors.
template <int NV, int MR, int P, class Row, class Number>
__attribute__((noinline)) void tile(const Row* const* rows, std::ptrdiff_t base, Run run, const Number* weights,
                                    std::ptrdiff_t panel, typename Kind<Number>::Sum* totals) {
    typename Kind<Number>::Sum sum[MR][P][NV] = {};
    const Row* row[MR];
#pragma GCC unroll 32
    for (int r = 0; r < MR; ++r) row[r] = rows[r];
    for (std::ptrdiff_t block = 0; block < run.blocks; ++block, base += run.stride)
        for (std::ptrdiff_t k = base; k < base + run.inner; ++k, weights += NV * LANES) {
            decltype(load(weights)) w[P][NV];
#pragma GCC unroll 4
            for (int p = 0; p < P; ++p)
#pragma GCC unroll 4
                for (int v = 0; v < NV; ++v) w[p][v] = load(weights + p * panel + v * LANES);
#pragma GCC unroll 32
            for (int r = 0; r < MR; ++r) {
                auto x = all(row[r][k]);
#pragma GCC unroll 4
                for (int p = 0; p < P; ++p)
#pragma GCC unroll 4
                    for (int v = 0; v < NV; ++v) sum[r][p][v] = fma(x, w[p][v], sum[r][p][v]);
            }
        }
#pragma GCC unroll 32
    for (int r = 0; r < MR; ++r)
#pragma GCC unroll 4
        for (int p = 0; p < P; ++p)
#pragma GCC unroll 4
            for (int v = 0; v < NV; ++v) totals[(r * P + p) * NV + v] += sum[r][p][v];
}

// Calls `tile` with the number of rows as a constant.
template <int NV, int MR, int P, class Row, class Number>
INLINE void tile_of(int height, const Row* const* rows, std::ptrdiff_t base, Run run, const Number* weights,
                    std::ptrdiff_t panel, typename Kind<Number>::Sum* totals) {
    if constexpr (MR > 0) {
        if (height == MR)
            tile<NV, MR, P>(rows, base, run, weights, panel, totals);
        else
            tile_of<NV, MR - 1, P>(height, rows, base, run, weights, panel, totals);
    }
}

// Some rows times P panels. A stretch of the weights stays in the nearest cache while all rows pass.
template <int NV, int HEIGHT, int P, class Row, class Number, class Start, class Emit>
INLINE void multiply_panels(const Row* const* rows, std::ptrdiff_t first_row, std::ptrdiff_t count, Run run,
                            const Number* weights, std::ptrdiff_t panel, std::ptrdiff_t first_panel,
                            typename Kind<Number>::Sum* totals,
                            const Start& start, const Emit& emit) {
    for (std::ptrdiff_t r = 0; r < count; ++r)
        for (int p = 0; p < P; ++p)
            for (int v = 0; v < NV; ++v) totals[(r * P + p) * NV + v] = start(first_row + r, first_panel + p, v);
    const Run piece = piece_of(run);
    const std::ptrdiff_t tiles = (count + HEIGHT - 1) / HEIGHT;
    for (std::ptrdiff_t block = 0; block < run.blocks; block += piece.blocks)
        for (std::ptrdiff_t from = 0; from < run.inner; from += piece.inner) {
            const std::ptrdiff_t blocks = run.blocks - block < piece.blocks ? run.blocks - block : piece.blocks;
            const std::ptrdiff_t inner = run.inner - from < piece.inner ? run.inner - from : piece.inner;
            std::ptrdiff_t done = 0;
            for (std::ptrdiff_t t = 0; t < tiles; ++t) {
                const std::ptrdiff_t next = count * (t + 1) / tiles;  // tiles of nearly equal height
                tile_of<NV, HEIGHT, P>(int(next - done), rows + done, block * run.stride + from,
                                       {blocks, run.stride, inner}, weights, panel, totals + done * P * NV);
                done = next;
            }
            weights += blocks * inner * NV * LANES;
        }
    for (std::ptrdiff_t r = 0; r < count; ++r)
        for (int p = 0; p < P; ++p) emit(first_row + r, first_panel + p, totals + (r * P + p) * NV);
}

// Rows times the panels first..last of packed weights; a panel holds (k, NV * LANES) of them.
// `start(row, panel, v)` gives each sum its first value, `emit(row, panel, Sum[NV])` takes its last. Rows are read as they
// are here, without `room`, see tiles.hpp.
template <int NV, class Row, class Number, class Start, class Emit>
void multiply(const Row* const* rows, std::ptrdiff_t count, Run run, const Number* weights, std::ptrdiff_t first,
              std::ptrdiff_t last, Number* /*room*/, const Start& start, const Emit& emit) {
    constexpr int EACH = Kind<Number>::registers;
    constexpr int HEIGHT = ACCUMULATORS / NV / EACH;      // rows that fit into the registers
    constexpr int SEVERAL = 4 / EACH;                     // panels that so few rows leave registers for:
    constexpr int FEW = HEIGHT / 4 > 0 ? HEIGHT / 4 : 1;
    constexpr std::ptrdiff_t GROUP = 8 * HEIGHT;
    const std::ptrdiff_t panel = run.length() * NV * LANES;
    typename Kind<Number>::Sum totals[GROUP * NV];
    std::ptrdiff_t p = first;
    if (count <= FEW)  // the weights are read faster when several sums wait for them
        for (; p + SEVERAL <= last; p += SEVERAL)
            multiply_panels<NV, FEW, SEVERAL>(rows, 0, count, run, weights + p * panel, panel, p, totals, start, emit);
    for (std::ptrdiff_t q = p; q < last; ++q)  // a panel is read once for all rows
        for (std::ptrdiff_t group = 0; group < count; group += GROUP)
            multiply_panels<NV, HEIGHT, 1>(rows + group, group, count - group < GROUP ? count - group : GROUP, run,
                                           weights + q * panel, panel, q, totals, start, emit);
}

// sums[m] += sum over k of left[k][m] * right[k], for MR values of m and NV vectors.
template <int NV, int MR, class Number>
__attribute__((noinline)) void outer_tile(const Number* left, std::ptrdiff_t left_stride, const Number* right,
                                          std::ptrdiff_t right_stride, std::ptrdiff_t count, float* sums,
                                          std::ptrdiff_t stride) {
    Vec sum[MR][NV] = {};
    for (std::ptrdiff_t k = 0; k < count; ++k, left += left_stride, right += right_stride) {
        decltype(load(right)) w[NV];
#pragma GCC unroll 4
        for (int v = 0; v < NV; ++v) w[v] = load(right + v * LANES);
#pragma GCC unroll 32
        for (int r = 0; r < MR; ++r) {
            auto a = all(left[r]);
#pragma GCC unroll 4
            for (int v = 0; v < NV; ++v) sum[r][v] = fma(a, w[v], sum[r][v]);
        }
    }
#pragma GCC unroll 32
    for (int r = 0; r < MR; ++r)
#pragma GCC unroll 4
        for (int v = 0; v < NV; ++v) {
            float* at = sums + r * stride + v * LANES;
            store(at, load(at) + sum[r][v]);
        }
}

template <int NV, int MR, class Number>
INLINE void outer_tile_of(int height, const Number* left, std::ptrdiff_t left_stride, const Number* right,
                          std::ptrdiff_t right_stride, std::ptrdiff_t count, float* sums, std::ptrdiff_t stride) {
    if constexpr (MR > 0) {
        if (height == MR)
            outer_tile<NV, MR>(left, left_stride, right, right_stride, count, sums, stride);
        else
            outer_tile_of<NV, MR - 1>(height, left, left_stride, right, right_stride, count, sums, stride);
    }
}

// sums (size, stride) += sum over k of left[k] (size,) times right[k] (NV * LANES,).
template <int NV, class Number>
void add_outer(const Number* left, std::ptrdiff_t left_stride, const Number* right, std::ptrdiff_t right_stride,
               std::ptrdiff_t count, std::ptrdiff_t size, float* sums, std::ptrdiff_t stride) {
    constexpr int HEIGHT = ACCUMULATORS / NV;
    const std::ptrdiff_t tiles = (size + HEIGHT - 1) / HEIGHT;
    std::ptrdiff_t done = 0;
    for (std::ptrdiff_t t = 0; t < tiles; ++t) {
        const std::ptrdiff_t next = size * (t + 1) / tiles;
        outer_tile_of<NV, HEIGHT>(int(next - done), left + done, left_stride, right, right_stride, count,
                                  sums + done * stride, stride);
        done = next;
    }
}

}  // namespace
