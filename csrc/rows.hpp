// The rows of a ragged batch: where their steps lie, and who does which of them.
#pragma once

#include "parallel.hpp"

namespace {

// Rows from the longest to the shortest, ties in order; so the rows that have a step s are the first ones.
inline void by_length(const SeqloomLayer& p, Size* order, Size* count_of) {
    for (Size t = 0; t <= p.T; ++t) count_of[t] = 0;
    for (Size b = 0; b < p.B; ++b) ++count_of[p.T - p.lengths[b]];
    Size sum = 0;
    for (Size t = 0; t <= p.T; ++t) {
        Size count = count_of[t];
        count_of[t] = sum;
        sum += count;
    }
    for (Size b = 0; b < p.B; ++b) order[count_of[p.T - p.lengths[b]]++] = b;
}

// Rows dealt out so that every thread has about as many steps: rows of thread k are
// dealt[first[k]] .. dealt[first[k + 1]], from long to short.
inline void deal(const SeqloomLayer& p, const Size* order, int threads, Size* dealt, Size* first, Size* owner,
                 Size* load_of) {
    for (int k = 0; k < threads; ++k) load_of[k] = 0;
    for (Size r = 0; r < p.B; ++r) {
        int least = 0;
        for (int k = 1; k < threads; ++k)
            if (load_of[k] < load_of[least]) least = k;
        owner[r] = least;
        load_of[least] += p.lengths[order[r]] + 1;
    }
    Size place = 0;
    for (int k = 0; k < threads; ++k) {
        first[k] = place;
        for (Size r = 0; r < p.B; ++r)
            if (owner[r] == k) dealt[place++] = order[r];
    }
    first[threads] = place;
}

INLINE Size place(const SeqloomLayer& p, Size b, Size s) { return p.reverse ? p.lengths[b] - 1 - s : s; }
INLINE const float* x_at(const SeqloomLayer& p, Size b, Size s) {
    return p.x + b * p.x_row + place(p, b, s) * p.x_step;
}
INLINE float* output_at(const SeqloomLayer& p, Size b, Size s) {
    return p.output + b * p.output_row + place(p, b, s) * p.output_step;
}
INLINE const float* h_before(const SeqloomLayer& p, Size b, Size s) {
    return s == 0 ? p.state + b * p.H : output_at(p, b, s - 1);
}

}  // namespace
