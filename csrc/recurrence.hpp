// A layer of a gated cell over a ragged batch, forward; backward.hpp is the way back, stepper.hpp single steps.
//
// It goes block of steps by block of steps: the inputs' products for all its steps at once, then step by step
// the products with h and the cell's own arithmetic, which follows while the sums are still in registers.
// Threads either share the rows, and never meet, or, where rows are few or the weights outgrow a core's own
// cache, they share the units and meet after each step. Neither changes any result: see matmul.hpp.
#pragma once

#include "row.hpp"
#include "rows.hpp"
#include "tiles.hpp"

namespace {

template <class Cell>
struct Recurrence {
    static constexpr int G = Cell::gates, M = Cell::memories, E = Cell::extras, K = Cell::kept, D = Cell::slopes;
    static constexpr int NV = G == 3 ? 3 : 4;  // vectors in a panel
    static constexpr int UPP = NV / G;         // blocks of LANES units in a panel
    // Whether units wait for the sums of the whole row, see row.hpp. Then the biases come later too, as the cell says.
    static constexpr bool WHOLE_ROW = requires { Cell::whole_row; };
    static constexpr Size STEPS_TIMES_ROWS = 96;  // products with inputs that are done together

    // Sizes that follow from H.
    struct Sizes {
        Size H, blocks, panels, width, reserve, slopes, back_panels;
        explicit Sizes(Size H)
            : H(H),
              blocks(ceil_div(H, LANES * UPP) * UPP),
              panels(blocks / UPP),
              width(blocks * LANES),
              reserve((blocks * K + WHOLE_ROW) * LANES),
              slopes(blocks * D * LANES),
              back_panels(ceil_div(ceil_div(H, LANES), 4)) {}
    };

    // ---- packing ----------------------------------------------------------------------------------------------

    // (G*H, N) to panels of (elements of N, NV * LANES), gates side by side for each block of units; zeros beyond H.
    // `scales` (panels, NV * LANES) is what whole numbers are to be multiplied by.
    template <class Number>
    static void pack(const float* weight, Size N, const Sizes& s, Part panels, Number* packed, float* scales) {
        constexpr Size TOGETHER = 64;  // so much of a panel stays in the nearest cache while its columns are written
        const Size length = elements<Number>(N), all_numbers = length * numbers_in<Number>;
        for (Size p = panels.first; p < panels.last; ++p) {
            if constexpr (scaled<Number>)
                for (int column = 0; column < NV * LANES; ++column) {
                    const float* from = row_of(weight, N, s, p, column);
                    float largest = 0.0f;
                    for (Size k = 0; from && k < N; ++k) {
                        const float size = from[k] < 0 ? -from[k] : from[k];
                        if (size > largest) largest = size;
                    }
                    scales[p * NV * LANES + column] = largest > 0.0f ? largest / 127.0f : 1.0f;
                }
            for (Size first = 0; first < all_numbers; first += TOGETHER) {
                const Size last = first + TOGETHER < all_numbers ? first + TOGETHER : all_numbers;
                for (int column = 0; column < NV * LANES; ++column) {
                    const float* from = row_of(weight, N, s, p, column);
                    const float scale = scaled<Number> ? scales[p * NV * LANES + column] : 1.0f;
                    Number* to = packed + p * length * NV * LANES + column;
                    for (Size k = first; k < last; ++k)
                        put(from && k < N ? from[k] / scale : 0.0f, to, k, NV * LANES);
                }
            }
        }
    }

#if defined(__AMX_BF16__)
    template <int PARTS>
    static void pack(const float* weight, Size N, const Sizes& s, Part panels, Tiles<PARTS>* packed, float*) {
        float block[BLOCK][NV * LANES];
        Tiles<PARTS>* to = packed + panels.first * panel_elements<Tiles<PARTS>>(N, NV);
        for (Size p = panels.first; p < panels.last; ++p)
            for (Size first = 0; first < blocks_in(N) * BLOCK; first += BLOCK) {
                for (int column = 0; column < NV * LANES; ++column) {
                    const float* from = row_of(weight, N, s, p, column);
                    for (Size k = 0; k < BLOCK; ++k) block[k][column] = from && first + k < N ? from[first + k] : 0.0f;
                }
                for (int v = 0; v < NV; ++v, ++to)
                    for (int k = 0; k < LANES; ++k)
                        put_pairs(to, k, load(block[k] + v * LANES), load(block[k + LANES] + v * LANES));
            }
    }
#endif

    // The row of a weight (G*H, N) that a column of a panel holds; NULL beyond H.
    static INLINE const float* row_of(const float* weight, Size N, const Sizes& s, Size panel, int column) {
        const int v = column / LANES;
        const Size unit = (panel * UPP + v / G) * LANES + column % LANES;
        return unit < s.H ? weight + ((v % G) * s.H + unit) * N : nullptr;
    }

    // (G*H,) to (blocks, G, LANES).
    static void pack_vector(const float* vector, int rows, const Sizes& s, float* packed) {
        for (Size block = 0; block < s.blocks; ++block)
            for (int g = 0; g < rows; ++g)
                store(packed + (block * rows + g) * LANES,
                      load_some(vector + g * s.H + block * LANES, s.H - block * LANES));
    }

    // The same weights for the way back: panels of (blocks * G * LANES numbers, 4 * LANES), in the order of the slopes.
    template <class Number>
    static void pack_back(const float* weight, Size N, const Sizes& s, const int* gate_of, Part panels,
                          Number* packed) {
        constexpr int STEP = numbers_in<Number>;
        for (Size p = panels.first; p < panels.last; ++p) {
            Number* to = packed + p * s.blocks * G * LANES / STEP * 4 * LANES;
            for (Size block = 0; block < s.blocks; ++block)
                for (int g = 0; g < G; ++g)
                    for (int lane = 0; lane < LANES; lane += STEP, to += 4 * LANES)
                        for (int v = 0; v < 4; ++v)
                            weave(to + v * LANES, [&](int j) {
                                const Size unit = block * LANES + lane + j, first = (p * 4 + v) * LANES;
                                return unit < s.H ? load_some(weight + (gate_of[g] * s.H + unit) * N + first, N - first)
                                                  : Vec{};
                            });
        }
    }

#if defined(__AMX_BF16__)
    template <int PARTS>
    static void pack_back(const float* weight, Size N, const Sizes& s, const int* gate_of, Part panels,
                          Tiles<PARTS>* packed) {
        const Size vectors = s.blocks * G;  // a tile takes two of them
        Tiles<PARTS>* to = packed + panels.first * panel_elements<Tiles<PARTS>>(vectors * LANES, 4);
        for (Size p = panels.first; p < panels.last; ++p)
            for (Size vector = 0; vector < vectors; vector += 2)
                for (int v = 0; v < 4; ++v, ++to) {
                    const Size first = (p * 4 + v) * LANES;
                    auto at = [&](Size which, int lane) {
                        const Size unit = which / G * LANES + lane;
                        return which < vectors && unit < s.H
                                   ? load_some(weight + (gate_of[which % G] * s.H + unit) * N + first, N - first)
                                   : Vec{};
                    };
                    for (int lane = 0; lane < LANES; ++lane) put_pairs(to, lane, at(vector, lane), at(vector + 1, lane));
                }
    }
#endif

    // ---- threads ------------------------------------------------------------------------------------------------

    // Whether threads share units rather than rows.
    static bool by_units(const SeqloomLayer& p, const Sizes& s, int threads) {
        if (WHOLE_ROW || threads < 2 || s.back_panels < threads) return false;
        Size weights = Size(G) * s.H * s.H;
        bool worth_waiting = weights * (p.B < 8 ? p.B : 8) > 60000;  // a step takes longer than the threads' meeting
        return worth_waiting && (p.B < 4 * threads || std::size_t(weights) * sizeof(float) > seqloom_cache_bytes());
    }

    // ---- one step of the cell -----------------------------------------------------------------------------------

    // Takes the sums of one panel: the cell's arithmetic for its UPP blocks of units. `copy` is h as the next step's
    // products read it.
    template <class Row>
    static INLINE void finish(const Sizes& s, Size panel, const Vec* sums, float* keep, const float* h, float* memory,
                              const float* extra, float* output, Row* copy) {
        for (int j = 0; j < UPP; ++j) {
            Size block = panel * UPP + j, left = s.H - block * LANES;
            if (left <= 0) break;
            Vec x[G], carried[M > 0 ? M : 1], kept[K];
            for (int g = 0; g < G; ++g) x[g] = load(keep + (block * K + g) * LANES);
            for (int m = 0; m < M; ++m) carried[m] = load(memory + (m * s.blocks + block) * LANES);
            Vec before = load_some(h + block * LANES, left);
            Vec after = Cell::step(x, sums + j * G, before, carried, extra + block * E * LANES, kept);
            for (int m = 0; m < M; ++m) store(memory + (m * s.blocks + block) * LANES, carried[m]);
            for (int k = 0; k < K; ++k) store(keep + (block * K + k) * LANES, kept[k]);
            store_some(output + block * LANES, after, left);
            if constexpr (!copied_whole<Row>)
                store(copy + elements<Row>(block * LANES), units_only(after, s.H, block));
        }
    }

    // ---- forward --------------------------------------------------------------------------------------------------

    // Packed weights. Scales are those of whole numbers.
    template <class Number>
    struct Weights {
        Number *w_ih, *w_hh;
        float *scale_ih, *scale_hh, *b_ih, *b_hh, *extra;

        Weights(Size I, const Sizes& s, Scratch& scratch)
            : w_ih(scratch.take<Number>(s.panels * panel_elements<Number>(I, NV))),
              w_hh(scratch.take<Number>(s.panels * panel_elements<Number>(s.H, NV))),
              scale_ih(scratch.take<float>(scaled<Number> ? s.panels * NV * LANES : 0)),
              scale_hh(scratch.take<float>(scaled<Number> ? s.panels * NV * LANES : 0)),
              b_ih(scratch.take<float>(s.blocks * G * LANES)),
              b_hh(scratch.take<float>(s.blocks * G * LANES)),
              extra(scratch.take<float>(s.blocks * E * LANES)) {}

        void fill(const SeqloomLayer& p, const Sizes& s, int rank, int threads) {
            const Part panels = share(s.panels, rank, threads);
            pack(p.w_ih, p.I, s, panels, w_ih, scale_ih);
            pack(p.w_hh, p.H, s, panels, w_hh, scale_hh);
            if (rank > 0) return;
            pack_vector(p.b_ih, G, s, b_ih);
            pack_vector(p.b_hh, G, s, b_hh);
            if (E > 0) pack_vector(p.extra, E, s, extra);
        }
    };

    static INLINE Vec bias(const float* packed, Size panel, int v) {
        return WHOLE_ROW ? Vec{} : load(packed + (panel * NV + v) * LANES);
    }

    // A sum of products begins with its bias, unless it is still to be multiplied by a scale.
    template <class Number>
    static INLINE typename Kind<Number>::Sum begin(const float* packed, Size panel, int v) {
        if constexpr (scaled<Number>)
            return typename Kind<Number>::Sum();
        else
            return bias(packed, panel, v);
    }
    // The sums of one panel with a row of so many numbers, as float32.
    template <class Number, class Row, class Sum>
    static INLINE void end(const float* scales, const float* packed, Size panel, const Row* row, Size count,
                           const Sum* sums, Vec* values) {
        for (int v = 0; v < NV; ++v)
            if constexpr (scaled<Number>)
                values[v] = value_of(sums[v], row, count, load(scales + (panel * NV + v) * LANES)) + bias(packed, panel, v);
            else
                values[v] = sums[v];
    }

    // Where the products with the inputs go until the step takes them: the first G slots of what is kept.
    static INLINE void store_inputs(Size panel, const Vec* sums, float* keep) {
        for (int v = 0; v < NV; ++v) store(keep + ((panel * UPP + v / G) * K + v % G) * LANES, sums[v]);
    }

    struct Team {
        const Size* rows;  // from long to short
        Size count;
        int rank, members;
        SeqloomBarrier* barrier;
    };

    template <class Number, class Row = typename Kind<Number>::Row>
    struct Buffers {
        const Row** pointers;  // (STEPS_TIMES_ROWS + count)
        float** keeps;         // likewise
        float* blocks;         // (steps of a block, rows, reserve), where nothing is reserved
        float* memory;         // (rows, M, width)
        float* sums;           // (rows, G, width), where cells wait for the whole row
        // Copies that products read: (STEPS_TIMES_ROWS + count, I) and (even and odd steps, count, width). Where the
        // numbers lie, rows are often a multiple of the page apart and push each other out of the nearest cache.
        Row *x, *h;
        Number* room;  // to rewrite rows in, see tiles.hpp
    };

    template <class Number>
    static Size room(Size I, const Sizes& s) {
        const Size x = room_for_rows<Number>(I), h = room_for_rows<Number>(s.H);
        return x > h ? x : h;
    }

    // Buffers for one thread and at most so many rows of which nothing is reserved.
    template <class Number, class Row = typename Kind<Number>::Row>
    static Buffers<Number> buffers(Size rows, Size I, const Sizes& s, Scratch& scratch) {
        const Size each = rows + STEPS_TIMES_ROWS;
        return {scratch.take<const Row*>(each),
                scratch.take<float*>(each),
                scratch.take<float>(each * s.reserve),
                scratch.take<float>(rows * M * s.width),
                scratch.take<float>(sums_numbers(rows, s)),
                scratch.take<Row>(each * x_stride<Row>(I)),
                scratch.take<Row>(2 * rows * h_stride<Row>(s)),
                scratch.take<Number>(room<Number>(I, s))};
    }

    static Size sums_numbers(Size rows, const Sizes& s) { return WHOLE_ROW ? rows * G * s.width : 0; }
    static constexpr Size GAP = 16;  // keeps the strides of copies off powers of two
    template <class Row>
    static Size x_stride(Size I) {
        return elements<Row>(I) + GAP;
    }
    template <class Row>
    static Size h_stride(const Sizes& s) {
        return elements<Row>(s.width) + GAP;
    }

    static Size block_steps(Size count) { return count >= STEPS_TIMES_ROWS ? 1 : STEPS_TIMES_ROWS / (count ? count : 1); }

    template <class Number, class Row = typename Kind<Number>::Row>
    static void forward_team(const SeqloomLayer& p, const Sizes& s, const Weights<Number>& w, const Team& team,
                             const Buffers<Number>& buffers) {
        const Part panels = share(s.panels, team.rank, team.members);
        const Size steps = team.count ? p.lengths[team.rows[0]] : 0, together = block_steps(team.count);
        auto memory = [&](Size r) { return buffers.memory + r * M * s.width; };
        auto copy_of_h = [&](Size r, Size t) {  // before step t
            return buffers.h + (t % 2 * team.count + r) * h_stride<Row>(s);
        };
        for (Size r = 0; r < team.count; ++r)
            for (Size block = panels.first * UPP; block < panels.last * UPP; ++block) {
                const Size left = s.H - block * LANES;
                const float* from = p.state + team.rows[r] * p.H + block * LANES;
                if constexpr (!copied_whole<Row>)
                    store(copy_of_h(r, 0) + elements<Row>(block * LANES), load_some(from, left));
                for (int m = 0; m < M; ++m)
                    store(memory(r) + (m * s.blocks + block) * LANES, load_some(from + (m + 1) * p.B * p.H, left));
            }
        for (Size r = 0; copied_whole<Row> && r < team.count; ++r)
            to_row(p.state + team.rows[r] * p.H, s.H, copy_of_h(r, 0));
        if (team.members > 1) seqloom_wait(team.barrier, team.members);
        Size active = team.count;
        for (Size first = 0; first < steps; first += together) {
            const Size last = first + together < steps ? first + together : steps;
            Size products = 0, still = active;
            for (Size t = first; t < last; ++t) {
                while (still > 0 && p.lengths[team.rows[still - 1]] <= t) --still;
                for (Size r = 0; r < still; ++r, ++products) {
                    Size b = team.rows[r];
                    Row* copy = buffers.x + products * x_stride<Row>(p.I);
                    to_row(x_at(p, b, t), p.I, copy);
                    buffers.pointers[products] = copy;
                    buffers.keeps[products] = p.reserve ? p.reserve + (b * p.T + place(p, b, t)) * s.reserve
                                                        : buffers.blocks + ((t - first) * team.count + r) * s.reserve;
                }
            }
            multiply<NV>(
                buffers.pointers, products, dense(elements<Row>(p.I)), w.w_ih, panels.first, panels.last,
                buffers.room, [&](Size, Size panel, int v) { return begin<Number>(w.b_ih, panel, v); },
                [&](Size r, Size panel, const auto* sums) {
                    Vec values[NV];
                    end<Number>(w.scale_ih, w.b_ih, panel, buffers.pointers[r], p.I, sums, values);
                    store_inputs(panel, values, buffers.keeps[r]);
                });
            float* const* keeps = buffers.keeps;
            for (Size t = first; t < last; ++t) {
                while (active > 0 && p.lengths[team.rows[active - 1]] <= t) --active;
                for (Size r = 0; r < active; ++r) buffers.pointers[r] = copy_of_h(r, t);
                multiply<NV>(
                    buffers.pointers, active, dense(elements<Row>(p.H)), w.w_hh, panels.first, panels.last,
                    buffers.room, [&](Size, Size panel, int v) { return begin<Number>(w.b_hh, panel, v); },
                    [&](Size r, Size panel, const auto* sums) {
                        Vec values[NV];
                        end<Number>(w.scale_hh, w.b_hh, panel, buffers.pointers[r], p.H, sums, values);
                        if constexpr (WHOLE_ROW)
                            for (int v = 0; v < NV; ++v)
                                store(buffers.sums + r * G * s.width + (panel * NV + v) * LANES, values[v]);
                        else
                            finish(s, panel, values, keeps[r], h_before(p, team.rows[r], t), memory(r), w.extra,
                                   output_at(p, team.rows[r], t), copy_of_h(r, t + 1));
                    });
                for (Size r = 0; (WHOLE_ROW || copied_whole<Row>) && r < active; ++r) {
                    float* output = output_at(p, team.rows[r], t);
                    if constexpr (WHOLE_ROW)
                        Cell::step_row({s.H, buffers.sums + r * G * s.width, h_before(p, team.rows[r], t), w.b_ih,
                                        w.b_hh, w.extra, memory(r), keeps[r], output});
                    to_row(output, s.H, copy_of_h(r, t + 1));
                }
                keeps += active;
                if (team.members > 1) seqloom_wait(team.barrier, team.members);
            }
        }
        const Size unit = panels.first * UPP * LANES;
        const Size end = panels.last * UPP * LANES < s.H ? panels.last * UPP * LANES : s.H;
        for (Size r = 0; r < team.count; ++r) {
            const Size b = team.rows[r], length = p.lengths[b];
            const float* h = h_before(p, b, length);
            for (Size u = unit; u < end; ++u) p.final_state[b * p.H + u] = h[u];
            for (int m = 0; m < M; ++m)
                for (Size u = unit; u < end; ++u)
                    p.final_state[((m + 1) * p.B + b) * p.H + u] = memory(r)[m * s.width + u];
            for (Size t = length; t < p.T; ++t)
                for (Size u = unit; u < end; ++u) p.output[b * p.output_row + t * p.output_step + u] = 0.0f;
        }
    }

    // How the rows are given to threads.
    struct Plan {
        bool units;
        int threads;
        Size *rows, *first;
        Team team(int rank, SeqloomBarrier* barrier, Size B) const {
            if (units) return {rows, B, rank, threads, barrier};
            return {rows + first[rank], first[rank + 1] - first[rank], 0, 1, nullptr};
        }
        Size most(Size B) const {
            if (units) return B;
            Size most = 0;
            for (int k = 0; k < threads; ++k)
                if (first[k + 1] - first[k] > most) most = first[k + 1] - first[k];
            return most;
        }
    };

    static Plan plan(const SeqloomLayer& p, const Sizes& s, int threads, Scratch& scratch) {
        Size* order = scratch.take<Size>(p.B);
        Size* dealt = scratch.take<Size>(p.B);
        Size* owner = scratch.take<Size>(p.B);
        Size* count_of = scratch.take<Size>(p.T + 1);
        Size* first = scratch.take<Size>(2 * threads + 1);
        if (scratch.failed) return {};
        by_length(p, order, count_of);
        bool units = by_units(p, s, threads);
        if (!units) {
            if (threads > p.B) threads = p.B > 0 ? int(p.B) : 1;
            deal(p, order, threads, dealt, first, owner, first + threads + 1);
        }
        return {units, threads, units ? order : dealt, first};
    }

    template <class Number, class Row = typename Kind<Number>::Row>
    static SeqloomStatus forward(const SeqloomLayer& p) {
        const Sizes s(p.H);
        Scratch scratch;
        int threads = p.threads > 0 ? p.threads : 1;
        Plan whole = plan(p, s, threads, scratch), alone = plan(p, s, 1, scratch);
        Weights<Number> w(p.I, s, scratch);
        if (scratch.failed) return SEQLOOM_NO_MEMORY;
        const Size rows = alone.most(p.B), each = rows + STEPS_TIMES_ROWS;
        const Size block = p.reserve ? 0 : each * s.reserve;
        const Row** pointers = scratch.take<const Row*>(threads * each);
        float** keeps = scratch.take<float*>(threads * each);
        float* blocks = scratch.take<float>((whole.units ? 1 : threads) * block);
        float* memory = scratch.take<float>(whole.units ? rows * M * s.width : threads * rows * M * s.width);
        float* sums = scratch.take<float>(threads * sums_numbers(rows, s));
        const Size x_each = each * x_stride<Row>(p.I), h_each = 2 * rows * h_stride<Row>(s);
        Row *x = scratch.take<Row>(threads * x_each), *h = scratch.take<Row>(threads * h_each);
        const Size room_each = room<Number>(p.I, s);
        Number* rooms = scratch.take<Number>(threads * room_each);
        if (scratch.failed) return SEQLOOM_NO_MEMORY;
        SeqloomBarrier barrier = {};
        parallel(threads, [&](int rank, int got) { w.fill(p, s, rank, got); });
        parallel(whole.threads, [&](int rank, int got) {
            if (got != whole.threads && rank > 0) return;  // fewer threads than planned for: one does it all
            TileUse use;
            const Plan& used = got == whole.threads ? whole : alone;
            const int own = used.units ? 0 : rank;  // a team shares what it writes by units
            forward_team(p, s, w, used.team(rank, &barrier, p.B),
                         {pointers + rank * each, keeps + rank * each, blocks + own * block,
                          memory + own * rows * M * s.width, sums + own * sums_numbers(rows, s), x + rank * x_each,
                          h + own * h_each, rooms + rank * room_each});
        });
        return SEQLOOM_DONE;
    }
};

}  // namespace
