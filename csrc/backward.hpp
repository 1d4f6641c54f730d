// The way back through a layer: step by step from each row's end, keeping the gradient before the nonlinearities
// ("slopes"); then, for all steps at once, the gradients of the inputs and of the weights.
#pragma once

#include "recurrence.hpp"

namespace {

template <class Cell, class Number>
struct Backward : Recurrence<Cell> {
    using Forward = Recurrence<Cell>;
    using typename Forward::Plan;
    using typename Forward::Sizes;
    using typename Forward::Team;
    using Forward::D, Forward::E, Forward::G, Forward::K, Forward::M, Forward::NV, Forward::UPP, Forward::WHOLE_ROW;
    using Forward::pack_back, Forward::pack_vector, Forward::plan;
    typedef typename Kind<Number>::Slope Slope;
    static constexpr Size V = LANES / numbers_in<Slope>;  // elements that hold a vector of slopes

    static Size slopes_of(const Sizes& s) { return s.slopes / numbers_in<Slope>; }

    struct BackBuffers {
        const Slope** pointers;   // (rows,)
        float *carry, *memory;    // (rows, width), (rows, M, width): what flows to h and memories before the step
        float* slopes;            // of one row, where a cell sees the whole row and they are kept in another kind
        Number* room;
    };

    static INLINE const float* kept_at(const SeqloomLayer& p, const Sizes& s, Size b, Size t) {
        return p.reserve + (b * p.T + place(p, b, t)) * s.reserve;
    }

    static INLINE void memory_before(const SeqloomLayer& p, const Sizes& s, Size b, Size t, Size block, Vec* memory) {
        for (int m = 0; m < M; ++m)
            memory[m] = t == 0 ? load_some(p.state + ((m + 1) * p.B + b) * p.H + block * LANES, s.H - block * LANES)
                               : load(kept_at(p, s, b, t - 1) + (block * K + Cell::kept_memory[m]) * LANES);
    }

    static void backward_team(const SeqloomLayer& p, const SeqloomGradients& g, const Sizes& s, const Number* w_back,
                              const float* extra, Slope* slopes, const Team& team, const BackBuffers& buffers) {
        const Part panels = share(s.back_panels, team.rank, team.members);
        const Size first_block = panels.first * 4;
        const Size last_block = panels.last * 4 < s.blocks ? panels.last * 4 : s.blocks;
        auto slope_at = [&](Size b, Size t) { return slopes + (b * p.T + place(p, b, t)) * slopes_of(s); };
        auto carry = [&](Size r) { return buffers.carry + r * s.width; };
        auto memory = [&](Size r) { return buffers.memory + r * M * s.width; };
        for (Size r = 0; r < team.count; ++r)
            for (Size block = first_block; block < last_block; ++block) {
                const Size left = s.H - block * LANES;
                const float* from = g.d_final + team.rows[r] * p.H + block * LANES;
                store(carry(r) + block * LANES, load_some(from, left));
                for (int m = 0; m < M; ++m)
                    store(memory(r) + (m * s.blocks + block) * LANES, load_some(from + (m + 1) * p.B * p.H, left));
            }
        // The step's own arithmetic, once the gradient of its h is known.
        auto finish_back = [&](Size r, Size t, Size block, Vec dh) {
            if constexpr (WHOLE_ROW) {
                store(carry(r) + block * LANES, dh);
            } else {
                const Size b = team.rows[r], left = s.H - block * LANES;
                const float* keep = kept_at(p, s, b, t);
                Vec kept[K], before[M > 0 ? M : 1], dmemory[M > 0 ? M : 1], slope[D];
                for (int k = 0; k < K; ++k) kept[k] = load(keep + (block * K + k) * LANES);
                memory_before(p, s, b, t, block, before);
                for (int m = 0; m < M; ++m) dmemory[m] = load(memory(r) + (m * s.blocks + block) * LANES);
                Vec h = load_some(h_before(p, b, t) + block * LANES, left);
                Vec past = Cell::back(kept, h, before, extra + block * E * LANES, dh, dmemory, slope);
                store(carry(r) + block * LANES, past);
                for (int m = 0; m < M; ++m) store(memory(r) + (m * s.blocks + block) * LANES, dmemory[m]);
                Slope* to = slope_at(b, t) + block * D * V;
                for (int k = 0; k < D; ++k) store(to + k * V, slope[k]);
            }
        };
        // The same of a cell that sees the whole row, whose gradient of h is in `carry`.
        auto finish_row = [&](Size r, Size t) {
            if constexpr (WHOLE_ROW) {
                const Size b = team.rows[r];
                Slope* to = slope_at(b, t);
                float* made = buffers.slopes;
                if constexpr (numbers_in<Slope> == 1) made = to;
                Cell::back_row({s.H, kept_at(p, s, b, t), h_before(p, b, t), extra, carry(r), memory(r), made},
                               [&](Size block, Vec* before) { memory_before(p, s, b, t, block, before); });
                if constexpr (numbers_in<Slope> > 1)
                    for (Size k = 0; k < s.blocks * D; ++k) store(to + k * V, load(made + k * LANES));
            }
        };
        auto gradient = [&](Size r, Size t, Size block) {
            const Size b = team.rows[r];
            const float* from = g.d_output + b * g.d_output_row + place(p, b, t) * g.d_output_step;
            return load_some(from + block * LANES, s.H - block * LANES) + load(carry(r) + block * LANES);
        };
        const Run recurrent = {s.blocks, D * V, G * V};
        const Size steps = team.count ? p.lengths[team.rows[0]] : 0;
        Size active = 0;
        for (Size t = steps - 1; t >= 0; --t) {
            const Size later = active;  // rows that have a step t + 1
            while (active < team.count && p.lengths[team.rows[active]] > t) ++active;
            for (Size r = 0; r < later; ++r)
                buffers.pointers[r] = slope_at(team.rows[r], t + 1) + Cell::recurrent_first * V;
            multiply<4>(
                buffers.pointers, later, recurrent, w_back, panels.first, panels.last, buffers.room,
                [&](Size r, Size panel, int v) {
                    Size block = panel * 4 + v;
                    return block < s.blocks ? gradient(r, t, block) : Vec{};
                },
                [&](Size r, Size panel, const Vec* sums) {
                    for (int v = 0; v < 4 && panel * 4 + v < last_block; ++v)
                        finish_back(r, t, panel * 4 + v, sums[v]);
                });
            for (Size r = later; r < active; ++r)
                for (Size block = first_block; block < last_block; ++block)
                    finish_back(r, t, block, gradient(r, t, block));
            for (Size r = 0; WHOLE_ROW && r < active; ++r) finish_row(r, t);
            if (team.members > 1) seqloom_wait(team.barrier, team.members);
        }
        for (Size r = 0; r < active; ++r)
            buffers.pointers[r] = slope_at(team.rows[r], 0) + Cell::recurrent_first * V;
        multiply<4>(
            buffers.pointers, active, recurrent, w_back, panels.first, panels.last, buffers.room,
            [&](Size r, Size panel, int v) {
                Size block = panel * 4 + v;
                return block < s.blocks ? load(carry(r) + block * LANES) : Vec{};
            },
            [&](Size r, Size panel, const Vec* sums) {
                for (int v = 0; v < 4 && panel * 4 + v < last_block; ++v)
                    store(carry(r) + (panel * 4 + v) * LANES, sums[v]);
            });
        for (Size r = 0; r < team.count; ++r)
            for (Size block = first_block; block < last_block; ++block)
                for (int m = 0; m <= M; ++m)
                    store_some(g.d_state + (m * p.B + team.rows[r]) * p.H + block * LANES,
                               load((m == 0 ? carry(r) : memory(r) + (m - 1) * s.width) + block * LANES),
                               s.H - block * LANES);
    }

    // Every valid step of the batch, row by row.
    struct Steps {
        const Slope** slopes;
        const float **x, **h;
        float** d_x;
        Size* row;
        Size* step;
        Size count;
    };

    static void input_gradient(const SeqloomLayer& p, const Sizes& s, const Number* w_back, const Steps& all_steps,
                               Part part, const Slope** rows, Number* room) {
        constexpr Size TOGETHER = 96;  // rows that stay in the cache while every panel passes
        const Size panels = ceil_div(ceil_div(p.I, LANES), 4);
        const Run run = {s.blocks, D * V, G * V};
        for (Size first = part.first; first < part.last; first += TOGETHER) {
            Size count = part.last - first < TOGETHER ? part.last - first : TOGETHER;
            for (Size k = 0; k < count; ++k) rows[k] = all_steps.slopes[first + k] + Cell::input_first * V;
            multiply<4>(
                rows, count, run, w_back, 0, panels, room, [](Size, Size, int) { return Vec{}; },
                [&](Size r, Size panel, const Vec* sums) {
                    for (int v = 0; v < 4; ++v)
                        store_some(all_steps.d_x[first + r] + (panel * 4 + v) * LANES, sums[v],
                                   p.I - (panel * 4 + v) * LANES);
                });
        }
    }

    // What one thread needs for gradients of weights: a stretch of steps copied side by side, since rows of x, h and
    // slopes lie far apart and would push each other out of the cache; and the sums, (N + 1, NV * LANES) a panel.
    struct WeightBuffers {
        Number *x, *h, *slopes;
        float *sums_ih, *sums_hh;
        static constexpr Size GAP = 16;  // keeps strides off powers of two, and takes what a last vector has too much
        static Size left(Size numbers) {
            if constexpr (tiled<Number>) return ceil_div(numbers, LANES) * blocks_in(CHAIN);
            return CHAIN * (numbers + GAP);
        }
        static Size copies(const SeqloomLayer& p) {
            return left(p.I) + left(p.H) + UPP * D * (tiled<Number> ? blocks_in(CHAIN) : CHAIN * LANES);
        }
        static Size sums(const SeqloomLayer& p, const Sizes& s) { return s.panels * (p.I + p.H + 2) * NV * LANES; }
        WeightBuffers(Number* copies, float* sums, const SeqloomLayer& p, const Sizes& s)
            : x(copies),
              h(x + left(p.I)),
              slopes(h + left(p.H)),
              sums_ih(sums),
              sums_hh(sums_ih + s.panels * (p.I + 1) * NV * LANES) {}
    };

    // Rows of so many numbers to elements that hold a number of each of `numbers_in` rows, zeros for rows beyond the last.
    static void copy_rows(const float* const* rows, Size count, Size numbers, Number* to) {
        if constexpr (tiled<Number>)
            steps_to_rows(rows, count, numbers, to);
        else
            for (Size k = 0; k < count; k += numbers_in<Number>, to += numbers + WeightBuffers::GAP)
                for (Size i = 0; i < numbers; i += LANES)
                    weave(to + i,
                          [&](int j) { return k + j < count ? load_some(rows[k + j] + i, numbers - i) : Vec{}; });
    }

    // The slopes of one panel likewise.
    static void copy_slopes(const Slope* const* rows, Size count, Size panel, Number* to) {
        if constexpr (tiled<Number>)
            steps_to_columns(rows, count, panel * UPP * D * LANES, UPP * D, to);
        else
            for (Size k = 0; k < count; k += numbers_in<Number>)
                for (int v = 0; v < UPP * D; ++v, to += LANES)
                    weave(to, [&](int j) {
                        return k + j < count ? load_numbers(rows[k + j] + (panel * UPP * D + v) * V) : Vec{};
                    });
    }

    // sums (N, NV * LANES) += left times the copied slopes of so many steps from vector `first` on.
    static void add_stretch(const Number* left, Size N, const Number* slopes, int first, Size count, float* sums) {
        if constexpr (tiled<Number>)
            add_outer_tiles<NV>(left, slopes + first * blocks_in(count), blocks_in(count), N, sums);
        else
            add_outer<NV>(left, N + WeightBuffers::GAP, slopes + first * LANES, UPP * D * LANES,
                          elements<Number>(count), N, sums, NV * LANES);
    }

    // sums (NV * LANES,) += the slopes themselves.
    static void add_bias(const Slope* const* rows, Size count, Size first, float* sums) {
        Vec bias[NV] = {};
        for (Size k = 0; k < count; ++k)
            for (int v = 0; v < NV; ++v) bias[v] += load_numbers(rows[k] + (first + v) * V);
        for (int v = 0; v < NV; ++v) store(sums + v * LANES, load(sums + v * LANES) + bias[v]);
    }

    // The gradients of some panels of W_ih, W_hh and of their biases.
    static void weight_gradients(const SeqloomLayer& p, const SeqloomGradients& g, const Sizes& s,
                                 const Steps& all_steps, Part panels, const WeightBuffers& own) {
        if (panels.first == panels.last) return;
        int ih_bias = Cell::input_first, hh_bias = Cell::recurrent_first;
        if constexpr (WHOLE_ROW) ih_bias = Cell::input_bias_first, hh_bias = Cell::recurrent_bias_first;
        const Size ih = (p.I + 1) * NV * LANES, hh = (p.H + 1) * NV * LANES;
        std::memset(own.sums_ih, 0, std::size_t((panels.last - panels.first) * ih) * sizeof(float));
        std::memset(own.sums_hh, 0, std::size_t((panels.last - panels.first) * hh) * sizeof(float));
        for (Size first = 0; first < all_steps.count; first += CHAIN) {
            const Size count = all_steps.count - first < CHAIN ? all_steps.count - first : CHAIN;
            const Slope* const* rows = all_steps.slopes + first;
            copy_rows(all_steps.x + first, count, p.I, own.x);
            copy_rows(all_steps.h + first, count, p.H, own.h);
            for (Size panel = panels.first; panel < panels.last; ++panel) {
                float* sums_ih = own.sums_ih + (panel - panels.first) * ih;
                float* sums_hh = own.sums_hh + (panel - panels.first) * hh;
                copy_slopes(rows, count, panel, own.slopes);
                add_stretch(own.x, p.I, own.slopes, Cell::input_first, count, sums_ih);
                add_stretch(own.h, p.H, own.slopes, Cell::recurrent_first, count, sums_hh);
                add_bias(rows, count, panel * UPP * D + ih_bias, sums_ih + p.I * NV * LANES);
                add_bias(rows, count, panel * UPP * D + hh_bias, sums_hh + p.H * NV * LANES);
            }
        }
        for (Size panel = panels.first; panel < panels.last; ++panel) {
            unpack(own.sums_ih + (panel - panels.first) * ih, p.I, s, panel, Cell::input_gate, g.d_w_ih, g.d_b_ih);
            unpack(own.sums_hh + (panel - panels.first) * hh, p.H, s, panel, Cell::recurrent_gate, g.d_w_hh, g.d_b_hh);
        }
    }

    // Sums of one panel to their places in (G*H, N) and (G*H,).
    static void unpack(const float* sums, Size N, const Sizes& s, Size panel, const int* gate_of, float* weight,
                       float* bias_gradient) {
        for (int v = 0; v < NV; ++v)
            for (int lane = 0; lane < LANES; ++lane) {
                const Size unit = (panel * UPP + v / G) * LANES + lane;
                if (unit >= s.H) break;
                const Size row = gate_of[v % G] * s.H + unit;
                const float* from = sums + v * LANES + lane;
                for (Size k = 0; k < N; ++k) weight[row * N + k] = from[k * NV * LANES];
                bias_gradient[row] = from[N * NV * LANES];
            }
    }

    static void extra_gradient(const SeqloomLayer& p, const SeqloomGradients& g, const Sizes& s, const Steps& all_steps,
                               Part blocks) {
        if constexpr (E > 0)
            for (Size block = blocks.first; block < blocks.last; ++block) {
                Vec sums[E] = {}, stretch[E] = {};
                for (Size k = 0; k < all_steps.count; ++k) {
                    const Size b = all_steps.row[k], t = all_steps.step[k];
                    Vec kept[K], before[M > 0 ? M : 1], slope[D];
                    const float* keep = kept_at(p, s, b, t);
                    for (int j = 0; j < K; ++j) kept[j] = load(keep + (block * K + j) * LANES);
                    for (int j = 0; j < D; ++j) slope[j] = load_numbers(all_steps.slopes[k] + (block * D + j) * V);
                    memory_before(p, s, b, t, block, before);
                    Cell::back_extra(kept, before, slope, stretch);
                    if (k % CHAIN == CHAIN - 1 || k == all_steps.count - 1)
                        for (int e = 0; e < E; ++e) sums[e] += stretch[e], stretch[e] = Vec{};
                }
                for (int e = 0; e < E; ++e)
                    store_some(g.d_extra + e * p.H + block * LANES, sums[e], s.H - block * LANES);
            }
    }

    static SeqloomStatus backward(const SeqloomLayer& p, const SeqloomGradients& g) {
        const Sizes s(p.H);
        Scratch scratch;
        const int threads = p.threads > 0 ? p.threads : 1;
        Plan whole = plan(p, s, threads, scratch), alone = plan(p, s, 1, scratch);
        const Size input_panels = ceil_div(ceil_div(p.I, LANES), 4);
        const Size panel = panel_elements<Number>(s.blocks * G * LANES, 4);
        Number* w_back = scratch.take<Number>((s.back_panels + input_panels) * panel);
        float* extra = scratch.take<float>(s.blocks * E * LANES);
        Slope* slopes = scratch.take<Slope>(p.B * p.T * slopes_of(s));
        const Size rows = p.B;
        const Size together = rows > 96 ? rows : 96;
        const Slope** pointers = scratch.take<const Slope*>(threads * together);
        float* carry = scratch.take<float>(threads * rows * (M + 1) * s.width);
        float* row_slopes = scratch.take<float>(WHOLE_ROW && numbers_in<Slope> > 1 ? threads * s.slopes : 0);
        Number* copies = scratch.take<Number>(threads * WeightBuffers::copies(p));
        float* sums = scratch.take<float>(threads * WeightBuffers::sums(p, s));
        Steps steps;
        steps.slopes = scratch.take<const Slope*>(p.B * p.T);
        const Size room = room_for_rows<Number>(s.blocks * G * LANES);
        Number* rooms = scratch.take<Number>(threads * room);
        steps.x = scratch.take<const float*>(p.B * p.T);
        steps.h = scratch.take<const float*>(p.B * p.T);
        steps.d_x = scratch.take<float*>(p.B * p.T);
        steps.row = scratch.take<Size>(p.B * p.T);
        steps.step = scratch.take<Size>(p.B * p.T);
        if (scratch.failed) return SEQLOOM_NO_MEMORY;
        steps.count = 0;
        for (Size b = 0; b < p.B; ++b)
            for (Size t = 0; t < p.lengths[b]; ++t, ++steps.count) {
                steps.slopes[steps.count] = slopes + (b * p.T + place(p, b, t)) * slopes_of(s);
                steps.x[steps.count] = x_at(p, b, t);
                steps.h[steps.count] = h_before(p, b, t);
                steps.d_x[steps.count] = g.d_x ? g.d_x + (b * p.T + place(p, b, t)) * p.I : nullptr;
                steps.row[steps.count] = b;
                steps.step[steps.count] = t;
            }
        Number* w_back_ih = w_back + s.back_panels * panel;
        parallel(threads, [&](int rank, int got) {
            pack_back(p.w_hh, p.H, s, Cell::recurrent_gate, share(s.back_panels, rank, got), w_back);
            if (g.d_x) pack_back(p.w_ih, p.I, s, Cell::input_gate, share(input_panels, rank, got), w_back_ih);
            if (E > 0 && rank == 0) pack_vector(p.extra, E, s, extra);
        });
        SeqloomBarrier barrier = {};
        parallel(whole.threads, [&](int rank, int got) {
            if (got != whole.threads && rank > 0) return;  // fewer threads than planned for: one does it all
            TileUse use;
            const Plan& used = got == whole.threads ? whole : alone;
            float* own = carry + (used.units ? 0 : rank) * rows * (M + 1) * s.width;
            backward_team(p, g, s, w_back, extra, slopes, used.team(rank, &barrier, p.B),
                          {pointers + rank * together, own, own + rows * s.width,
                           row_slopes + (WHOLE_ROW && numbers_in<Slope> > 1 ? rank * s.slopes : 0), rooms + rank * room});
        });
        parallel(threads, [&](int rank, int got) {
            TileUse use;
            if (g.d_x) {
                input_gradient(p, s, w_back_ih, steps, share(steps.count, rank, got), pointers + rank * together,
                               rooms + rank * room);
                Part own = share(p.B, rank, got);
                for (Size b = own.first; b < own.last; ++b)
                    for (Size k = p.lengths[b] * p.I; k < p.T * p.I; ++k) g.d_x[b * p.T * p.I + k] = 0.0f;
            }
            weight_gradients(p, g, s, steps, share(s.panels, rank, got),
                             WeightBuffers(copies + rank * WeightBuffers::copies(p),
                                           sums + rank * WeightBuffers::sums(p, s), p, s));
            extra_gradient(p, g, s, steps, share(s.blocks, rank, got));
        });
        return SEQLOOM_DONE;
    }
};

}  // namespace
