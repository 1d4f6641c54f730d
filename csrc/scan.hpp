// h' = a * h + b along time, one number at a time: what is left of cells whose recurrence is linear in the state. With
// the negative part cut off it is the recurrence of units that see their own past alone.
#pragma once

#include "recurrence.hpp"

namespace {

// Calls body(row, first unit, units) for stretches of LANES units; threads share rows and units.
template <class Body>
void each_stretch(int threads, Size B, Size H, const Body& body) {
    const Size blocks = ceil_div(H, LANES);
    parallel(threads, [&](int rank, int got) {
        Part part = share(B * blocks, rank, got);
        for (Size k = part.first; k < part.last; ++k) {
            const Size unit = k % blocks * LANES;
            body(k / blocks, unit, H - unit);
        }
    });
}

inline SeqloomStatus scan_forward(const SeqloomScan* p) {
    each_stretch(p->threads, p->B, p->H, [&](Size b, Size unit, Size left) {
        Vec h = load_some(p->h + b * p->H + unit, left);
        const Size length = p->lengths[b];
        const float* a = p->a + b * p->a_row + unit;
        Size at = b * p->T * p->H + unit;
        for (Size t = 0; t < length; ++t, at += p->H, a += p->a_step) {
            h = fma(load_some(a, left), h, load_some(p->b + at, left));
            if (p->rectified) h = h < 0.0f ? Vec{} : h;  // NaN stays NaN
            store_some(p->output + at, h, left);
        }
        for (Size t = length; t < p->T; ++t, at += p->H) store_some(p->output + at, Vec{}, left);
        store_some(p->final_state + b * p->H + unit, h, left);
    });
    return SEQLOOM_DONE;
}

inline SeqloomStatus scan_backward(const SeqloomScan* p, const SeqloomScanGradients* g) {
    each_stretch(p->threads, p->B, p->H, [&](Size b, Size unit, Size left) {
        Vec dh = load_some(g->d_final + b * p->H + unit, left);
        const Size length = p->lengths[b], row = b * p->T * p->H + unit;
        for (Size t = p->T - 1; t >= length; --t) {
            store_some(g->d_a + row + t * p->H, Vec{}, left);
            store_some(g->d_b + row + t * p->H, Vec{}, left);
        }
        for (Size t = length - 1; t >= 0; --t) {
            const Size at = row + t * p->H;
            dh += load_some(g->d_output + at, left);
            if (p->rectified) dh = load_some(p->output + at, left) > 0.0f ? dh : Vec{};
            Vec before = t > 0 ? load_some(p->output + at - p->H, left) : load_some(p->h + b * p->H + unit, left);
            store_some(g->d_a + at, dh * before, left);
            store_some(g->d_b + at, dh, left);
            dh = dh * load_some(p->a + b * p->a_row + t * p->a_step + unit, left);
        }
        store_some(g->d_h + b * p->H + unit, dh, left);
    });
    return SEQLOOM_DONE;
}

}  // namespace
