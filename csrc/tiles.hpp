// Products through tiles (AMX): one instruction takes sixteen rows of thirty-two numbers times sixteen columns of them.
//
// It multiplies bfloat16 and adds up in float32. A float32 is, to its last bit, the sum of three bfloat16, each the
// nearest to what those before it leave. Of the nine products of such parts the three smallest are below 2^-26 of the
// whole and left out: the six others still take less time than float32 takes by itself. The first, largest one is
// summed apart from the rest, so that rounding errors are those of a plain sum in float32. Infinite numbers have no such
// parts and become NaN. (Henry, Tang and Heinecke, "Leveraging the bfloat16 Artificial Intelligence Datatype For
// Higher-Precision Computations", 2019.)
//
// A pair in a tile holds the numbers k and k + LANES of its block of 2 * LANES.
#pragma once

#include "matmul.hpp"

namespace {

constexpr std::ptrdiff_t BLOCK = 2 * LANES;  // numbers in a tile's row
// One block of zeros where there is no number: then sums are what they start with.
INLINE std::ptrdiff_t blocks_in(std::ptrdiff_t numbers) { return numbers > 0 ? (numbers + BLOCK - 1) / BLOCK : 1; }

// Rows of tiles that are rewritten together: so many stay in the second-level cache.
template <int PARTS>
std::ptrdiff_t tiles_together(std::ptrdiff_t blocks);

#if defined(__AMX_BF16__)

// One block of numbers for LANES rows or columns, in PARTS: three for float32, one for what is rounded to bfloat16.
template <int PARTS>
struct alignas(64) Tiles {
    static constexpr int parts = PARTS;
    Pair part[PARTS][LANES][LANES];
};

constexpr std::ptrdiff_t BLOCKS_TOGETHER = 16;  // summed by themselves, as in matmul.hpp

template <int PARTS>
struct Kind<Tiles<PARTS>> : Kind<float> {};
template <int PARTS>
constexpr bool tiled<Tiles<PARTS>> = true;

// ---- the processor's tiles ------------------------------------------------------------------------------------

// The instructions for tiles do not tell the compiler which memory they read.
INLINE void written(const void* memory) { asm volatile("" : : "r"(memory) : "memory"); }

// The height of the calling thread's tiles; 0: they are not in use.
thread_local int tile_height = 0;

// Tiles 0..3 hold sums, so many rows of them; 4 and 5 rows; 6 and 7 columns.
INLINE void use_tiles(int height) {
    if (tile_height == height) return;
    struct alignas(64) {
        std::uint8_t palette = 1, start = 0, unused[14] = {};
        std::uint16_t row_bytes[16] = {};
        std::uint8_t rows[16] = {};
    } shape;
    for (int k = 0; k < 8; ++k) {
        shape.row_bytes[k] = sizeof(Pair) * LANES;
        shape.rows[k] = std::uint8_t(k < 6 ? height : LANES);
    }
    written(&shape);
    _tile_loadconfig(&shape);
    tile_height = height;
}

// Gives the tiles back, which other code of this thread may want in another shape.
struct TileUse {
    ~TileUse() {
        if (tile_height == 0) return;
        _tile_release();
        tile_height = 0;
    }
};

// One block of rows times one or two tiles of columns, `next` apart, to the tiles 0 and 1, and 2 and 3: the largest
// products to the first of them. Two columns share the loads of rows.
template <bool TWO, int PARTS>
INLINE void block_products(const Tiles<PARTS>* rows, const Tiles<PARTS>* columns, std::ptrdiff_t next) {
    constexpr std::ptrdiff_t STRIDE = sizeof(Pair) * LANES;
    _tile_loadd(4, rows->part[0], STRIDE);
    _tile_loadd(6, columns->part[0], STRIDE);
    _tile_dpbf16ps(0, 4, 6);
    if constexpr (TWO) _tile_loadd(7, columns[next].part[0], STRIDE);
    if constexpr (TWO) _tile_dpbf16ps(2, 4, 7);
    if constexpr (PARTS == 3) {
        _tile_loadd(5, rows->part[2], STRIDE);
        _tile_dpbf16ps(1, 5, 6);
        if constexpr (TWO) _tile_dpbf16ps(3, 5, 7);
        _tile_loadd(5, rows->part[1], STRIDE);
        _tile_dpbf16ps(1, 5, 6);
        if constexpr (TWO) _tile_dpbf16ps(3, 5, 7);
        _tile_loadd(6, columns->part[1], STRIDE);
        _tile_dpbf16ps(1, 4, 6);
        _tile_dpbf16ps(1, 5, 6);
        if constexpr (TWO) _tile_loadd(7, columns[next].part[1], STRIDE);
        if constexpr (TWO) _tile_dpbf16ps(3, 4, 7);
        if constexpr (TWO) _tile_dpbf16ps(3, 5, 7);
        _tile_loadd(6, columns->part[2], STRIDE);
        _tile_dpbf16ps(1, 4, 6);
        if constexpr (TWO) _tile_loadd(7, columns[next].part[2], STRIDE);
        if constexpr (TWO) _tile_dpbf16ps(3, 4, 7);
    }
}

// What they add up to.
template <int PARTS>
struct alignas(64) TileSums {
    float largest[LANES][LANES], rest[PARTS == 1 ? 0 : LANES][LANES];
    INLINE Vec row(std::ptrdiff_t k) const {
        if constexpr (PARTS == 1) return load(largest[k]);
        return load(largest[k]) + load(rest[k]);
    }
};

template <bool TWO, int PARTS>
INLINE void store_sums(TileSums<PARTS>* sums) {
    constexpr std::ptrdiff_t STRIDE = sizeof(Pair) * LANES;
    _tile_stored(0, sums[0].largest, STRIDE);
    if constexpr (PARTS == 3) _tile_stored(1, sums[0].rest, STRIDE);
    if constexpr (TWO) _tile_stored(2, sums[1].largest, STRIDE);
    if constexpr (TWO && PARTS == 3) _tile_stored(3, sums[1].rest, STRIDE);
}

// Rows times NV tiles of columns, step by step: the processor multiplies tiles while it does other work in between.
template <int NV, int PARTS>
struct Products {
    const Tiles<PARTS>*rows = nullptr, *columns = nullptr;
    std::ptrdiff_t next = 0, stride = 0;  // from one of NV columns to the next, from block to block
    std::ptrdiff_t blocks = 0;
    TileSums<PARTS>* sums = nullptr;
    std::ptrdiff_t v = 0, block = 0;

    // All steps, spread over so many calls of `take`, which is other work.
    template <class Take>
    INLINE void advance_while(std::ptrdiff_t count, const Take& take) {
        const std::ptrdiff_t steps = blocks * ((NV + 1) / 2);
        std::ptrdiff_t done = 0;
        for (std::ptrdiff_t k = 0; k < count; ++k) {
            take(k);
            const std::ptrdiff_t until = steps * (k + 1) / count;
            advance(until - done);
            done = until;
        }
        advance(steps - done);
    }

    INLINE void advance(std::ptrdiff_t steps) {
        for (; steps > 0; --steps) {
            if (block == 0) {
                _tile_zero(0);
                _tile_zero(1);
                _tile_zero(2);
                _tile_zero(3);
            }
            const Tiles<PARTS>* at = columns + v * next + block * stride;
            const bool two = NV % 2 == 0 || v + 1 < NV;
            if (two)
                block_products<true>(rows + block, at, next);
            else
                block_products<false>(rows + block, at, next);
            if (++block < blocks) continue;
            if (two)
                store_sums<true>(sums + v);
            else
                store_sums<false>(sums + v);
            block = 0, v += 2;
        }
    }
};

// ---- numbers to tiles ---------------------------------------------------------------------------------------------

// The nearest float whose last sixteen bits are zeros. Ties do not matter to what is left.
INLINE Vec leading(Vec value) { return floats(((Ints)value + 0x8000) & std::int32_t(0xFFFF0000u)); }

// Pairs of two vectors' numbers in PARTS.
template <int PARTS>
INLINE void split(Vec first, Vec second, Ints* pairs) {
    if constexpr (PARTS == 1) {
        const __m512i low = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(__m512(first)));
        const __m512i high = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(__m512(second)));
        pairs[0] = Ints(low) | Ints(high) << 16;
    } else {
        for (int part = 0; part < PARTS; ++part) {
            // Nothing is left to round in the last part, and NaN of any bits stays NaN there.
            const Vec a = part < PARTS - 1 ? leading(first) : first, b = part < PARTS - 1 ? leading(second) : second;
            const Ints upper = (Ints)b & std::int32_t(0xFFFF0000u);
            pairs[part] = Ints(_mm512_srli_epi32(__m512i(a), 16)) | upper;
            first -= a, second -= b;
        }
    }
}

// One pair of each of LANES columns.
template <int PARTS>
INLINE void put_pairs(Tiles<PARTS>* tiles, int pair, Vec first, Vec second) {
    Ints pairs[PARTS];
    split<PARTS>(first, second, pairs);
    for (int part = 0; part < PARTS; ++part) std::memcpy(tiles->part[part][pair], &pairs[part], sizeof pairs[part]);
}

// The row of a tile from all numbers of a run, block by block.
template <int PARTS>
INLINE void row_to_tiles(const float* row, Run run, Tiles<PARTS>* tiles, int place) {
    const std::ptrdiff_t length = run.length(), blocks = blocks_in(length);
    std::ptrdiff_t within = 0;  // the block of the run
    auto next = [&](std::ptrdiff_t k) {
        if (k >= length) return Vec{};
        const Vec value = load_some(row + within, run.inner - within);
        within += LANES;
        if (within >= run.inner) within = 0, row += run.stride;
        return value;
    };
    for (std::ptrdiff_t block = 0; block < blocks; ++block) {
        const Vec first = next(block * BLOCK);
        put_pairs(tiles + block, place, first, next(block * BLOCK + LANES));
    }
}

// Rows become columns: 32 bits each, LANES times LANES.
INLINE void transpose(Ints* rows) {
    for (int half = 1; half < LANES; half *= 2) {
        Ints low, high;
        for (int k = 0; k < LANES; ++k) {
            low[k] = k & half ? LANES + k - half : k;
            high[k] = k & half ? LANES + k : k + half;
        }
        for (int k = 0; k < LANES; ++k) {
            if (k & half) continue;
            const __m512i a = __m512i(rows[k]), b = __m512i(rows[k + half]);
            rows[k] = Ints(_mm512_permutex2var_epi32(a, __m512i(low), b));
            rows[k + half] = Ints(_mm512_permutex2var_epi32(a, __m512i(high), b));
        }
    }
}

// ---- products -----------------------------------------------------------------------------------------------------

template <int PARTS>
std::ptrdiff_t tiles_together(std::ptrdiff_t blocks) {
    const std::ptrdiff_t fit = (384 << 10) / std::ptrdiff_t(blocks * sizeof(Tiles<PARTS>));
    return fit < 1 ? 1 : fit > 6 ? 6 : fit;
}

// As in matmul.hpp; a panel holds (blocks, NV) tiles. While sums are taken by their rows, the next ones are multiplied.
template <int NV, int PARTS, class Start, class Emit>
void multiply(const float* const* rows, std::ptrdiff_t count, Run run, const Tiles<PARTS>* weights,
              std::ptrdiff_t first, std::ptrdiff_t last, Tiles<PARTS>* room, const Start& start, const Emit& emit) {
    const std::ptrdiff_t blocks = blocks_in(run.length()), group = tiles_together<PARTS>(blocks) * LANES;
    const std::ptrdiff_t stretches = (blocks + BLOCKS_TOGETHER - 1) / BLOCKS_TOGETHER;
    TileSums<PARTS> sums[2][NV];
    Vec totals[LANES][NV];
    for (std::ptrdiff_t from = 0; from < count; from += group) {
        const std::ptrdiff_t many = count - from < group ? count - from : group;
        const std::ptrdiff_t tiles = (many + LANES - 1) / LANES, height = (many + tiles - 1) / tiles;
        use_tiles(int(height));
        for (std::ptrdiff_t r = 0; r < many; ++r)
            row_to_tiles(rows[from + r], run, room + r / height * blocks, int(r % height));
        written(room);
        // Each turn multiplies one stretch of one tile of rows with one panel, and takes the sums of the turn before.
        struct Turn {
            std::ptrdiff_t stretch, tile, panel;
        };
        auto turn_of = [&](std::ptrdiff_t turn) {
            return Turn{turn % stretches, turn / stretches % tiles, first + turn / stretches / tiles};
        };
        const std::ptrdiff_t turns = (last - first) * tiles * stretches;
        for (std::ptrdiff_t turn = 0; turn <= turns; ++turn) {
            Products<NV, PARTS> products;
            if (turn < turns) {
                const auto [stretch, tile, panel] = turn_of(turn);
                const std::ptrdiff_t block = stretch * BLOCKS_TOGETHER, left = blocks - block;
                products = {room + tile * blocks + block, weights + (panel * blocks + block) * NV, 1, NV,
                            left < BLOCKS_TOGETHER ? left : BLOCKS_TOGETHER, sums[turn % 2]};
            }
            const auto [stretch, tile, panel] = turn_of(turn > 0 ? turn - 1 : 0);
            const std::ptrdiff_t row = tile * height, some = many - row < height ? many - row : height;
            products.advance_while(turn > 0 ? some : 0, [&](std::ptrdiff_t k) {
                for (int v = 0; v < NV; ++v) {
                    if (stretch == 0) totals[k][v] = start(from + row + k, panel, v);
                    totals[k][v] += sums[(turn - 1) % 2][v].row(k);
                }
                if (stretch == stretches - 1) emit(from + row + k, panel, totals[k]);
            });
        }
    }
}

// ---- sums of outer products ---------------------------------------------------------------------------------------

// So many rows of numbers, each a step, to tiles whose rows are numbers: (numbers / LANES, blocks of steps).
template <int PARTS>
void steps_to_rows(const float* const* rows, std::ptrdiff_t count, std::ptrdiff_t numbers, Tiles<PARTS>* to) {
    for (std::ptrdiff_t i = 0; i < numbers; i += LANES)
        for (std::ptrdiff_t k = 0; k < count; k += BLOCK, ++to) {
            Ints pairs[PARTS][LANES];
            for (int j = 0; j < LANES; ++j) {
                auto at = [&](std::ptrdiff_t step) {
                    return step < count ? load_some(rows[step] + i, numbers - i) : Vec{};
                };
                Ints both[PARTS];
                split<PARTS>(at(k + j), at(k + j + LANES), both);
                for (int part = 0; part < PARTS; ++part) pairs[part][j] = both[part];
            }
            for (int part = 0; part < PARTS; ++part) {
                transpose(pairs[part]);
                std::memcpy(to->part[part], pairs[part], sizeof pairs[part]);
            }
        }
}

// The same rows' numbers from `offset` on, `vectors` times LANES of them, to tiles whose columns they are:
// (vectors, blocks of steps).
template <int PARTS>
void steps_to_columns(const float* const* rows, std::ptrdiff_t count, std::ptrdiff_t offset, int vectors,
                      Tiles<PARTS>* to) {
    for (int v = 0; v < vectors; ++v)
        for (std::ptrdiff_t k = 0; k < count; k += BLOCK, ++to)
            for (int j = 0; j < LANES; ++j) {
                auto at = [&](std::ptrdiff_t step) {
                    return step < count ? load(rows[step] + offset + v * LANES) : Vec{};
                };
                put_pairs(to, j, at(k + j), at(k + j + LANES));
            }
}

// sums (numbers, NV * LANES) += sum over so many blocks of steps of rows times columns.
template <int NV, int PARTS>
void add_outer_tiles(const Tiles<PARTS>* rows, const Tiles<PARTS>* columns, std::ptrdiff_t blocks,
                     std::ptrdiff_t numbers, float* sums) {
    TileSums<PARTS> products[2][NV];
    const std::ptrdiff_t turns = (numbers + LANES - 1) / LANES;
    use_tiles(LANES);
    written(rows);
    for (std::ptrdiff_t turn = 0; turn <= turns; ++turn) {  // as in `multiply`
        Products<NV, PARTS> next;
        if (turn < turns) next = {rows + turn * blocks, columns, blocks, 1, blocks, products[turn % 2]};
        const std::ptrdiff_t first = (turn - 1) * LANES, some = numbers - first < LANES ? numbers - first : LANES;
        next.advance_while(turn > 0 ? some : 0, [&](std::ptrdiff_t k) {
            for (int v = 0; v < NV; ++v) {
                float* at = sums + ((first + k) * NV + v) * LANES;
                store(at, load(at) + products[(turn - 1) % 2][v].row(k));
            }
        });
    }
}

#else

struct TileUse {
    ~TileUse() {}
};

#endif

// Elements of a panel of weights.
template <class Number>
INLINE std::ptrdiff_t panel_elements(std::ptrdiff_t numbers, std::ptrdiff_t vectors) {
    if constexpr (tiled<Number>)
        return blocks_in(numbers) * vectors;
    else
        return elements<Number>(numbers) * vectors * LANES;
}

// Elements that `multiply` needs to rewrite rows of so many numbers.
template <class Number>
INLINE std::ptrdiff_t room_for_rows([[maybe_unused]] std::ptrdiff_t numbers) {
    if constexpr (tiled<Number>)
        return blocks_in(numbers) * tiles_together<Number::parts>(blocks_in(numbers));
    else
        return 0;
}

}  // namespace
