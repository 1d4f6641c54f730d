// How fast this machine multiplies and reads: the limits beside which benchmarks set their figures. The caller takes
// the time; each function says what was really done, since a busy pool lends fewer threads.
#pragma once

#include "recurrence.hpp"

namespace {

constexpr int CHAINS = 12;  // products under way at once: more than two units of latency 4 need, and AVX2 has 16 registers

// Multiply-adds on registers alone; gives the floating-point operations of all threads.
inline std::int64_t multiply_adds(std::int32_t threads, std::int64_t rounds) {
    int working = 1;
    parallel(threads, [&](int rank, int got) {
        if (rank == 0) working = got;
        Vec sums[CHAINS];
        for (int k = 0; k < CHAINS; ++k) sums[k] = all(float(k));
        const Vec factor = all(0.5f), term = all(1.0f);  // towards 2, whatever the beginning
        for (std::int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 12
            for (int k = 0; k < CHAINS; ++k) sums[k] = fma(sums[k], factor, term);
        }
        Vec total = sums[0];
        for (int k = 1; k < CHAINS; ++k) total += sums[k];
        asm volatile("" : : "m"(total));  // someone may look at it, so it must be computed
    });
    return rounds * working * CHAINS * LANES * 2;
}

// Each thread reads `count` numbers of its own, `rounds` times over; `memory` holds them for all threads, end to end.
// Gives the bytes read by all.
inline std::int64_t read_rounds(std::int32_t threads, const float* memory, std::int64_t count, std::int64_t rounds) {
    const Size whole = count / (8 * LANES) * (8 * LANES);
    int working = 1;
    parallel(threads, [&](int rank, int got) {
        if (rank == 0) working = got;
        const float* own = memory + rank * count;
        Ints sums[8] = {};
        for (std::int64_t round = 0; round < rounds; ++round) {
            asm volatile("" : : "r"(own) : "memory");  // the numbers may have changed: they must be read again
            for (Size k = 0; k < whole; k += 8 * LANES) {
#pragma GCC unroll 8
                for (int j = 0; j < 8; ++j) {
                    Ints value;
                    std::memcpy(&value, own + k + j * LANES, sizeof value);
                    sums[j] ^= value;
                }
            }
        }
        Ints total = sums[0];
        for (int k = 1; k < 8; ++k) total ^= sums[k];
        asm volatile("" : : "m"(total));
    });
    return rounds * working * whole * std::int64_t(sizeof(float));
}

}  // namespace
