// A layer of a gated cell over a ragged batch: forward, backward and one step.
//
// Forward, block of steps by block of steps: the inputs' products for all its steps at once, then step by step
// the products with h and the cell's own arithmetic, which follows while the sums are still in registers.
// Backward: step by step from each row's end, keeping the gradient before the nonlinearities ("slopes"); then, for
// all steps at once, the gradients of the inputs and of the weights.
//
// Threads either share the rows, and never meet, or, where rows are few or the weights outgrow a core's own
// cache, they share the units and meet after each step. Neither changes any result: see matmul.hpp.
#pragma once

#include <new>

#include "matmul.hpp"
#include "row.hpp"
#include "seqloom.h"

namespace {

typedef std::ptrdiff_t Size;

INLINE Size ceil_div(Size a, Size b) { return (a + b - 1) / b; }

// Scratch that is freed at the end of the scope.
struct Scratch {
    static constexpr int MOST = 24;
    void* held[MOST];
    int count = 0;
    bool failed = false;

    template <class Number>
    Number* take(Size numbers) {
        void* memory = seqloom_alloc(std::size_t(numbers > 0 ? numbers : 1) * sizeof(Number));
        if (memory == nullptr || count == MOST) {
            failed = true;
            seqloom_free(memory);
            return nullptr;
        }
        held[count++] = memory;
        return static_cast<Number*>(memory);
    }
    ~Scratch() {
        for (int k = 0; k < count; ++k) seqloom_free(held[k]);
    }
};

template <class Body>
struct Parallel {
    const Body& body;
    static void call(void* context, int rank, int threads) { static_cast<Parallel*>(context)->body(rank, threads); }
};

// body(rank, threads) on so many threads.
template <class Body>
void parallel(int threads, const Body& body) {
    Parallel<Body> task{body};
    seqloom_parallel(threads, &Parallel<Body>::call, &task);
}

struct Part {
    Size first, last;
};
INLINE Part share(Size count, int rank, int threads) { return {count * rank / threads, count * (rank + 1) / threads}; }

template <class Cell>
struct Recurrence {
    static constexpr int G = Cell::gates, M = Cell::memories, E = Cell::extras, K = Cell::kept, D = Cell::slopes;
    static constexpr int NV = G == 3 ? 3 : 4;  // vectors in a panel
    static constexpr int UPP = NV / G;         // blocks of LANES units in a panel
    // Whether units wait for the sums of the whole row, see row.hpp. Then the biases come later too, as the cell says.
    static constexpr bool WHOLE_ROW = requires { Cell::whole_row; };
    static constexpr Size STEPS_TIMES_ROWS = 32;  // products with inputs that are done together

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

    // (G*H, N) to panels of (N, NV * LANES), gates side by side for each block of units; zeros beyond H.
    // `scales` (panels, NV * LANES) is what whole numbers are to be multiplied by.
    template <class Number>
    static void pack(const float* weight, Size N, const Sizes& s, Part panels, Number* packed, float* scales) {
        constexpr Size TOGETHER = 64;  // so much of a panel stays in the nearest cache while its columns are written
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
            for (Size first = 0; first < N; first += TOGETHER) {
                const Size last = first + TOGETHER < N ? first + TOGETHER : N;
                for (int column = 0; column < NV * LANES; ++column) {
                    const float* from = row_of(weight, N, s, p, column);
                    const float scale = scaled<Number> ? scales[p * NV * LANES + column] : 1.0f;
                    Number* to = packed + p * N * NV * LANES + column;
                    for (Size k = first; k < last; ++k) put(from ? from[k] / scale : 0.0f, to + k * NV * LANES);
                }
            }
        }
    }

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

    // The same weights for the way back: panels of (blocks * G * LANES, 4 * LANES), k in the order of the slopes.
    static void pack_back(const float* weight, Size N, const Sizes& s, const int* gate_of, Part panels, float* packed) {
        for (Size p = panels.first; p < panels.last; ++p) {
            float* to = packed + p * s.blocks * G * LANES * 4 * LANES;
            for (Size block = 0; block < s.blocks; ++block)
                for (int g = 0; g < G; ++g)
                    for (int lane = 0; lane < LANES; ++lane, to += 4 * LANES) {
                        Size unit = block * LANES + lane;
                        const float* from = weight + (gate_of[g] * s.H + unit) * N + p * 4 * LANES;
                        for (int v = 0; v < 4; ++v)
                            store(to + v * LANES,
                                  unit < s.H ? load_some(from + v * LANES, N - (p * 4 + v) * LANES) : Vec{});
                    }
        }
    }

    // ---- rows ---------------------------------------------------------------------------------------------------

    // Rows from the longest to the shortest, ties in order; so the rows that have a step s are the first ones.
    static void by_length(const SeqloomLayer& p, Size* order, Size* count_of) {
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
    static void deal(const SeqloomLayer& p, const Size* order, int threads, Size* dealt, Size* first, Size* owner,
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

    // Whether threads share units rather than rows.
    static bool by_units(const SeqloomLayer& p, const Sizes& s, int threads) {
        if (WHOLE_ROW || threads < 2 || s.back_panels < threads) return false;
        Size weights = Size(G) * s.H * s.H;
        bool worth_waiting = weights * (p.B < 8 ? p.B : 8) > 60000;  // a step takes longer than the threads' meeting
        return worth_waiting && (p.B < 4 * threads || std::size_t(weights) * sizeof(float) > seqloom_cache_bytes());
    }

    static INLINE Size place(const SeqloomLayer& p, Size b, Size s) { return p.reverse ? p.lengths[b] - 1 - s : s; }
    static INLINE const float* x_at(const SeqloomLayer& p, Size b, Size s) {
        return p.x + b * p.x_row + place(p, b, s) * p.x_step;
    }
    static INLINE float* output_at(const SeqloomLayer& p, Size b, Size s) {
        return p.output + b * p.output_row + place(p, b, s) * p.output_step;
    }
    static INLINE const float* h_before(const SeqloomLayer& p, Size b, Size s) {
        return s == 0 ? p.state + b * p.H : output_at(p, b, s - 1);
    }

    // ---- one step of the cell -----------------------------------------------------------------------------------

    // Takes the sums of one panel: the cell's arithmetic for its UPP blocks of units.
    static INLINE void finish(const Sizes& s, Size panel, const Vec* sums, float* keep, const float* h, float* memory,
                              const float* extra, float* output) {
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
        }
    }

    // ---- forward --------------------------------------------------------------------------------------------------

    // Packed weights. Scales are those of whole numbers.
    template <class Number>
    struct Weights {
        Number *w_ih, *w_hh;
        float *scale_ih, *scale_hh, *b_ih, *b_hh, *extra;

        Weights(Size I, const Sizes& s, Scratch& scratch)
            : w_ih(scratch.take<Number>(s.panels * I * NV * LANES)),
              w_hh(scratch.take<Number>(s.panels * s.H * NV * LANES)),
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
    static INLINE Vec begin(const float* packed, Size panel, int v) {
        return scaled<Number> ? Vec{} : bias(packed, panel, v);
    }
    template <class Number>
    static INLINE void end(const float* scales, const float* packed, Size panel, Vec* sums) {
        if constexpr (scaled<Number>)
            for (int v = 0; v < NV; ++v)
                sums[v] = fma(sums[v], load(scales + (panel * NV + v) * LANES), bias(packed, panel, v));
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

    struct Buffers {
        const float** pointers;  // (STEPS_TIMES_ROWS + count)
        float** keeps;           // likewise
        float* blocks;           // (steps of a block, rows, reserve), where nothing is reserved
        float* memory;           // (rows, M, width)
        float* sums;             // (rows, G, width), where cells wait for the whole row
    };

    static Size sums_numbers(Size rows, const Sizes& s) { return WHOLE_ROW ? rows * G * s.width : 0; }

    static Size block_steps(Size count) { return count >= STEPS_TIMES_ROWS ? 1 : STEPS_TIMES_ROWS / (count ? count : 1); }

    template <class Number>
    static void forward_team(const SeqloomLayer& p, const Sizes& s, const Weights<Number>& w, const Team& team,
                             const Buffers& buffers) {
        const Part panels = share(s.panels, team.rank, team.members);
        const Size steps = team.count ? p.lengths[team.rows[0]] : 0, together = block_steps(team.count);
        auto memory = [&](Size r) { return buffers.memory + r * M * s.width; };
        for (Size r = 0; r < team.count; ++r)
            for (int m = 0; m < M; ++m)
                for (Size block = panels.first * UPP; block < panels.last * UPP; ++block)
                    store(memory(r) + (m * s.blocks + block) * LANES,
                          load_some(p.state + ((m + 1) * p.B + team.rows[r]) * p.H + block * LANES,
                                    s.H - block * LANES));
        Size active = team.count;
        for (Size first = 0; first < steps; first += together) {
            const Size last = first + together < steps ? first + together : steps;
            Size products = 0, still = active;
            for (Size t = first; t < last; ++t) {
                while (still > 0 && p.lengths[team.rows[still - 1]] <= t) --still;
                for (Size r = 0; r < still; ++r, ++products) {
                    Size b = team.rows[r];
                    buffers.pointers[products] = x_at(p, b, t);
                    buffers.keeps[products] = p.reserve ? p.reserve + (b * p.T + place(p, b, t)) * s.reserve
                                                        : buffers.blocks + ((t - first) * team.count + r) * s.reserve;
                }
            }
            multiply<NV>(
                buffers.pointers, products, dense(p.I), w.w_ih, panels.first, panels.last,
                [&](Size, Size panel, int v) { return begin<Number>(w.b_ih, panel, v); },
                [&](Size r, Size panel, Vec* sums) {
                    end<Number>(w.scale_ih, w.b_ih, panel, sums);
                    store_inputs(panel, sums, buffers.keeps[r]);
                });
            float* const* keeps = buffers.keeps;
            for (Size t = first; t < last; ++t) {
                while (active > 0 && p.lengths[team.rows[active - 1]] <= t) --active;
                for (Size r = 0; r < active; ++r) buffers.pointers[r] = h_before(p, team.rows[r], t);
                multiply<NV>(
                    buffers.pointers, active, dense(p.H), w.w_hh, panels.first, panels.last,
                    [&](Size, Size panel, int v) { return begin<Number>(w.b_hh, panel, v); },
                    [&](Size r, Size panel, Vec* sums) {
                        end<Number>(w.scale_hh, w.b_hh, panel, sums);
                        if constexpr (WHOLE_ROW)
                            for (int v = 0; v < NV; ++v)
                                store(buffers.sums + r * G * s.width + (panel * NV + v) * LANES, sums[v]);
                        else
                            finish(s, panel, sums, keeps[r], buffers.pointers[r], memory(r), w.extra,
                                   output_at(p, team.rows[r], t));
                    });
                if constexpr (WHOLE_ROW)
                    for (Size r = 0; r < active; ++r)
                        Cell::step_row({s.H, buffers.sums + r * G * s.width, buffers.pointers[r], w.b_ih, w.b_hh,
                                        w.extra, memory(r), keeps[r], output_at(p, team.rows[r], t)});
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

    static SeqloomStatus forward(const SeqloomLayer& p) {
        const Sizes s(p.H);
        Scratch scratch;
        int threads = p.threads > 0 ? p.threads : 1;
        Plan whole = plan(p, s, threads, scratch), alone = plan(p, s, 1, scratch);
        Weights<float> w(p.I, s, scratch);
        if (scratch.failed) return SEQLOOM_NO_MEMORY;
        if (p.reserve) seqloom_large_pages(p.reserve, std::size_t(p.B * p.T * s.reserve) * sizeof(float));
        const Size rows = alone.most(p.B), each = rows + STEPS_TIMES_ROWS;
        const Size block = p.reserve ? 0 : each * s.reserve;
        const float** pointers = scratch.take<const float*>(threads * each);
        float** keeps = scratch.take<float*>(threads * each);
        float* blocks = scratch.take<float>((whole.units ? 1 : threads) * block);
        float* memory = scratch.take<float>(whole.units ? rows * M * s.width : threads * rows * M * s.width);
        float* sums = scratch.take<float>(threads * sums_numbers(rows, s));
        if (scratch.failed) return SEQLOOM_NO_MEMORY;
        SeqloomBarrier barrier = {};
        parallel(threads, [&](int rank, int got) { w.fill(p, s, rank, got); });
        parallel(whole.threads, [&](int rank, int got) {
            if (got != whole.threads && rank > 0) return;  // fewer threads than planned for: one does it all
            const Plan& used = got == whole.threads ? whole : alone;
            const int own = used.units ? 0 : rank;  // a team shares what it writes by units
            forward_team(p, s, w, used.team(rank, &barrier, p.B),
                         {pointers + rank * each, keeps + rank * each, blocks + own * block,
                          memory + own * rows * M * s.width, sums + own * sums_numbers(rows, s)});
        });
        return SEQLOOM_DONE;
    }

    // ---- backward -------------------------------------------------------------------------------------------------

    struct BackBuffers {
        const float** pointers;  // (rows,)
        float *carry, *memory;   // (rows, width), (rows, M, width): what flows to h and memories before the step
    };

    static INLINE const float* kept_at(const SeqloomLayer& p, const Sizes& s, Size b, Size t) {
        return p.reserve + (b * p.T + place(p, b, t)) * s.reserve;
    }

    static INLINE void memory_before(const SeqloomLayer& p, const Sizes& s, Size b, Size t, Size block, Vec* memory) {
        for (int m = 0; m < M; ++m)
            memory[m] = t == 0 ? load_some(p.state + ((m + 1) * p.B + b) * p.H + block * LANES, s.H - block * LANES)
                               : load(kept_at(p, s, b, t - 1) + (block * K + Cell::kept_memory[m]) * LANES);
    }

    static void backward_team(const SeqloomLayer& p, const SeqloomGradients& g, const Sizes& s, const float* w_back,
                              const float* extra, float* slopes, const Team& team, const BackBuffers& buffers) {
        const Part panels = share(s.back_panels, team.rank, team.members);
        const Size first_block = panels.first * 4;
        const Size last_block = panels.last * 4 < s.blocks ? panels.last * 4 : s.blocks;
        auto slope_at = [&](Size b, Size t) { return slopes + (b * p.T + place(p, b, t)) * s.slopes; };
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
                float* to = slope_at(b, t) + block * D * LANES;
                for (int k = 0; k < D; ++k) store(to + k * LANES, slope[k]);
            }
        };
        // The same of a cell that sees the whole row, whose gradient of h is in `carry`.
        auto finish_row = [&](Size r, Size t) {
            if constexpr (WHOLE_ROW) {
                const Size b = team.rows[r];
                const float* h = h_before(p, b, t);
                Cell::back_row({s.H, kept_at(p, s, b, t), h, extra, carry(r), memory(r), slope_at(b, t)},
                               [&](Size block, Vec* before) { memory_before(p, s, b, t, block, before); });
            }
        };
        auto gradient = [&](Size r, Size t, Size block) {
            const Size b = team.rows[r];
            const float* from = g.d_output + b * g.d_output_row + place(p, b, t) * g.d_output_step;
            return load_some(from + block * LANES, s.H - block * LANES) + load(carry(r) + block * LANES);
        };
        const Run recurrent = {s.blocks, D * LANES, G * LANES};
        const Size steps = team.count ? p.lengths[team.rows[0]] : 0;
        Size active = 0;
        for (Size t = steps - 1; t >= 0; --t) {
            const Size later = active;  // rows that have a step t + 1
            while (active < team.count && p.lengths[team.rows[active]] > t) ++active;
            for (Size r = 0; r < later; ++r)
                buffers.pointers[r] = slope_at(team.rows[r], t + 1) + Cell::recurrent_first * LANES;
            multiply<4>(
                buffers.pointers, later, recurrent, w_back, panels.first, panels.last,
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
            buffers.pointers[r] = slope_at(team.rows[r], 0) + Cell::recurrent_first * LANES;
        multiply<4>(
            buffers.pointers, active, recurrent, w_back, panels.first, panels.last,
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
        const float **slopes, **x, **h;
        float** d_x;
        Size* row;
        Size* step;
        Size count;
    };

    static void input_gradient(const SeqloomLayer& p, const Sizes& s, const float* w_back, const Steps& all_steps,
                               Part part, const float** rows) {
        constexpr Size TOGETHER = 48;  // rows that stay in the cache while every panel passes
        const Size panels = ceil_div(ceil_div(p.I, LANES), 4);
        const Run run = {s.blocks, D * LANES, G * LANES};
        for (Size first = part.first; first < part.last; first += TOGETHER) {
            Size count = part.last - first < TOGETHER ? part.last - first : TOGETHER;
            for (Size k = 0; k < count; ++k) rows[k] = all_steps.slopes[first + k] + Cell::input_first * LANES;
            multiply<4>(
                rows, count, run, w_back, 0, panels, [](Size, Size, int) { return Vec{}; },
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
        float *x, *h, *slopes, *sums_ih, *sums_hh;
        static constexpr Size GAP = 16;  // keeps strides off powers of two
        static Size numbers(const SeqloomLayer& p, const Sizes& s) {
            return CHAIN * (p.I + p.H + 2 * GAP + UPP * D * LANES) + s.panels * (p.I + p.H + 2) * NV * LANES;
        }
        WeightBuffers(float* memory, const SeqloomLayer& p, const Sizes& s)
            : x(memory),
              h(x + CHAIN * (p.I + GAP)),
              slopes(h + CHAIN * (p.H + GAP)),
              sums_ih(slopes + CHAIN * UPP * D * LANES),
              sums_hh(sums_ih + s.panels * (p.I + 1) * NV * LANES) {}
    };

    static void copy_rows(const float* const* rows, Size count, Size numbers, Size stride, float* to) {
        for (Size k = 0; k < count; ++k) std::memcpy(to + k * stride, rows[k], std::size_t(numbers) * sizeof(float));
    }

    // sums (N + 1, NV * LANES) += left times slopes, and in the last row those of the bias alone.
    static void add_stretch(const float* left, Size N, const float* slopes, const float* bias_slopes, Size count,
                            float* sums) {
        add_outer<NV>(left, N + WeightBuffers::GAP, slopes, UPP * D * LANES, count, N, sums, NV * LANES);
        Vec bias_sum[NV] = {};
        for (Size k = 0; k < count; ++k)
            for (int v = 0; v < NV; ++v) bias_sum[v] += load(bias_slopes + k * UPP * D * LANES + v * LANES);
        for (int v = 0; v < NV; ++v) {
            float* at = sums + (N * NV + v) * LANES;
            store(at, load(at) + bias_sum[v]);
        }
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
            copy_rows(all_steps.x + first, count, p.I, p.I + WeightBuffers::GAP, own.x);
            copy_rows(all_steps.h + first, count, p.H, p.H + WeightBuffers::GAP, own.h);
            for (Size panel = panels.first; panel < panels.last; ++panel) {
                for (Size k = 0; k < count; ++k)
                    for (int v = 0; v < UPP * D; ++v)
                        store(own.slopes + (k * UPP * D + v) * LANES,
                              load(all_steps.slopes[first + k] + (panel * UPP * D + v) * LANES));
                add_stretch(own.x, p.I, own.slopes + Cell::input_first * LANES, own.slopes + ih_bias * LANES, count,
                            own.sums_ih + (panel - panels.first) * ih);
                add_stretch(own.h, p.H, own.slopes + Cell::recurrent_first * LANES, own.slopes + hh_bias * LANES, count,
                            own.sums_hh + (panel - panels.first) * hh);
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
                    for (int j = 0; j < D; ++j) slope[j] = load(all_steps.slopes[k] + (block * D + j) * LANES);
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
        const Size panel_numbers = s.blocks * G * LANES * 4 * LANES;
        float* w_back = scratch.take<float>((s.back_panels + input_panels) * panel_numbers);
        float* extra = scratch.take<float>(s.blocks * E * LANES);
        float* slopes = scratch.take<float>(p.B * p.T * s.slopes);
        const Size rows = p.B;
        const Size together = rows > 48 ? rows : 48;
        const float** pointers = scratch.take<const float*>(threads * together);
        float* carry = scratch.take<float>(threads * rows * (M + 1) * s.width);
        float* sums = scratch.take<float>(threads * WeightBuffers::numbers(p, s));
        Steps steps;
        steps.slopes = scratch.take<const float*>(p.B * p.T);
        steps.x = scratch.take<const float*>(p.B * p.T);
        steps.h = scratch.take<const float*>(p.B * p.T);
        steps.d_x = scratch.take<float*>(p.B * p.T);
        steps.row = scratch.take<Size>(p.B * p.T);
        steps.step = scratch.take<Size>(p.B * p.T);
        if (scratch.failed) return SEQLOOM_NO_MEMORY;
        steps.count = 0;
        for (Size b = 0; b < p.B; ++b)
            for (Size t = 0; t < p.lengths[b]; ++t, ++steps.count) {
                steps.slopes[steps.count] = slopes + (b * p.T + place(p, b, t)) * s.slopes;
                steps.x[steps.count] = x_at(p, b, t);
                steps.h[steps.count] = h_before(p, b, t);
                steps.d_x[steps.count] = g.d_x ? g.d_x + (b * p.T + place(p, b, t)) * p.I : nullptr;
                steps.row[steps.count] = b;
                steps.step[steps.count] = t;
            }
        float* w_back_ih = w_back + s.back_panels * panel_numbers;
        parallel(threads, [&](int rank, int got) {
            pack_back(p.w_hh, p.H, s, Cell::recurrent_gate, share(s.back_panels, rank, got), w_back);
            if (g.d_x) pack_back(p.w_ih, p.I, s, Cell::input_gate, share(input_panels, rank, got), w_back_ih);
            if (E > 0 && rank == 0) pack_vector(p.extra, E, s, extra);
        });
        SeqloomBarrier barrier = {};
        parallel(whole.threads, [&](int rank, int got) {
            if (got != whole.threads && rank > 0) return;  // fewer threads than planned for: one does it all
            const Plan& used = got == whole.threads ? whole : alone;
            float* own = carry + (used.units ? 0 : rank) * rows * (M + 1) * s.width;
            backward_team(p, g, s, w_back, extra, slopes, used.team(rank, &barrier, p.B),
                          {pointers + rank * together, own, own + rows * s.width});
        });
        parallel(threads, [&](int rank, int got) {
            if (g.d_x) {
                input_gradient(p, s, w_back_ih, steps, share(steps.count, rank, got), pointers + rank * together);
                Part own = share(p.B, rank, got);
                for (Size b = own.first; b < own.last; ++b)
                    for (Size k = p.lengths[b] * p.I; k < p.T * p.I; ++k) g.d_x[b * p.T * p.I + k] = 0.0f;
            }
            weight_gradients(p, g, s, steps, share(s.panels, rank, got),
                             WeightBuffers(sums + rank * WeightBuffers::numbers(p, s), p, s));
            extra_gradient(p, g, s, steps, share(s.blocks, rank, got));
        });
        return SEQLOOM_DONE;
    }

    // ---- steps with weights that were packed once ---------------------------------------------------------------

    // Everything that a stream needs again and again. The code is that of `forward`, and with weights in float32 so are
    // the bits of its results.
    template <class Number>
    struct Stepper {
        Scratch scratch;
        SeqloomLayer layer;
        Sizes sizes;
        Weights<Number> weights;
        Size* rows;
        std::int64_t* lengths;
        Buffers buffers;

        Stepper(const SeqloomLayer& p, Size most)
            : layer(p),
              sizes(p.H),
              weights(p.I, sizes, scratch),
              rows(scratch.take<Size>(most)),
              lengths(scratch.take<std::int64_t>(most)),
              buffers{scratch.take<const float*>(most + STEPS_TIMES_ROWS), scratch.take<float*>(most + STEPS_TIMES_ROWS),
                      scratch.take<float>((most + STEPS_TIMES_ROWS) * sizes.reserve),
                      scratch.take<float>(most * M * sizes.width), scratch.take<float>(sums_numbers(most, sizes))} {
            if (scratch.failed) return;
            weights.fill(p, sizes, 0, 1);
            for (Size r = 0; r < most; ++r) rows[r] = r;
        }

        // x (count, T, I) to output (count, T, H); the state (1 + M, count, H) is changed in place.
        void run(Size count, Size T, const float* x, float* state, float* output) {
            SeqloomLayer p = layer;
            p.B = count, p.T = T;
            p.x = x, p.x_row = T * p.I, p.x_step = p.I;
            p.state = state, p.final_state = state;
            p.output = output, p.output_row = T * p.H, p.output_step = p.H;
            p.reserve = nullptr, p.reverse = 0, p.lengths = lengths;
            for (Size r = 0; r < count; ++r) lengths[r] = T;
            forward_team(p, sizes, weights, {rows, count, 0, 1, nullptr}, buffers);
        }
    };

    template <class Number>
    static void* stepper(const SeqloomLayer& p, Size most) {
        void* memory = seqloom_alloc(sizeof(Stepper<Number>));
        if (memory == nullptr) return nullptr;
        Stepper<Number>* made = new (memory) Stepper<Number>(p, most);
        if (!made->scratch.failed) return made;
        stepper_free<Number>(made);
        return nullptr;
    }

    template <class Number>
    static void stepper_free(void* stepper) {
        static_cast<Stepper<Number>*>(stepper)->~Stepper<Number>();
        seqloom_free(stepper);
    }
};

}  // namespace
