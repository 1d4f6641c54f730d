// What products multiply: float32, neighbours in bfloat16, and whole numbers of eight bits as weights of live sequences.
//
// A kind says what its weights are multiplied with (`Row`), what products are added up in (`Sum`), how many registers
// that takes, and how many numbers of a sum one element holds (`numbers_in`). For each there is `load` of LANES weights,
// `all` of one element of a row, and `fma` of both: so the loops of matmul.hpp know none of them.
#pragma once

#include "vec.hpp"

namespace {

// Two neighbouring numbers of a sum in bfloat16, the earlier one in the lower half. Their products are added at once.
struct Pair {
    std::uint32_t bits;
};
typedef std::int8_t Int8;

template <class Number>
struct Kind {
    typedef float Row, Slope;  // Slope: what the gradients before nonlinearities are kept as
    typedef Vec Sum;
    static constexpr int registers = 1;
};
template <>
struct Kind<Pair> : Kind<float> {
    typedef Pair Row, Slope;
};

template <class Element>
constexpr std::ptrdiff_t numbers_in = 1;
template <>
constexpr std::ptrdiff_t numbers_in<Pair> = 2;

template <class Row>
constexpr bool copied_whole = false;  // whether a row's copy needs to know all of its numbers

// So many elements hold so many numbers.
template <class Element>
INLINE std::ptrdiff_t elements(std::ptrdiff_t numbers) {
    return (numbers + numbers_in<Element> - 1) / numbers_in<Element>;
}

template <class Number>
constexpr bool tiled = false;  // see tiles.hpp

template <class Number>
constexpr bool scaled = false;  // whether each column of weights has a scale of its own
template <>
constexpr bool scaled<Int8> = true;

// ---- neighbours in bfloat16 ---------------------------------------------------------------------------------------

INLINE Ints load(const Pair* from) {
    Ints value;
    std::memcpy(&value, from, sizeof value);
    return value;
}

INLINE Ints all(Pair pair) { return std::int32_t(pair.bits) - Ints{}; }

// c + a.earlier * b.earlier + a.later * b.later.
INLINE Vec fma(Ints a, Ints b, Vec c) {
#if defined(__AVX512BF16__)
    return Vec(_mm512_dpbf16_ps(__m512(c), (__m512bh)a, (__m512bh)b));
#else
    const std::int32_t upper = std::int32_t(0xFFFF0000u);
    return fma(floats(a & upper), floats(b & upper), fma(floats(a << 16), floats(b << 16), c));
#endif
}

// The nearest bfloat16, ties to even, in the lower half; what is no number stays none.
INLINE Ints nearest_bfloat16(Vec value) {
    const Ints bits = (Ints)value;
    const Ints rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16) & 0xFFFF;
    return value == value ? rounded : Ints{} + 0x7FC0;
}

// LANES numbers that lie one after another: half as many elements.
INLINE void store(Pair* to, Vec value) {
    typedef std::uint16_t Halves __attribute__((vector_size(2 * LANES)));
    const Halves halves = __builtin_convertvector(nearest_bfloat16(value), Halves);
    std::memcpy(to, &halves, sizeof halves);
}

// The way back from `store`.
INLINE Vec load_numbers(const Pair* from) {
    typedef std::uint16_t Halves __attribute__((vector_size(2 * LANES)));
    Halves halves;
    std::memcpy(&halves, from, sizeof halves);
    return floats(__builtin_convertvector(halves, Ints) << 16);
}
INLINE Vec load_numbers(const float* from) { return load(from); }

// LANES elements; `numbers(j)` gives the j-th number of each.
template <class Numbers>
INLINE void weave(float* to, const Numbers& numbers) {
    store(to, numbers(0));
}
template <class Numbers>
INLINE void weave(Pair* to, const Numbers& numbers) {
    const Ints woven = nearest_bfloat16(numbers(0)) | nearest_bfloat16(numbers(1)) << 16;
    std::memcpy(to, &woven, sizeof woven);
}

// `count` numbers to elements of a row, a zero behind an odd one.
INLINE void to_row(const float* from, std::ptrdiff_t count, float* to) {
    std::memcpy(to, from, std::size_t(count) * sizeof(float));
}
INLINE void to_row(const float* from, std::ptrdiff_t count, Pair* to) {
    for (std::ptrdiff_t k = 0; k < count; k += LANES, to += LANES / 2) {
        const std::ptrdiff_t left = count - k;
        if (left >= LANES) {
            store(to, load(from + k));
        } else {
            Pair last[LANES / 2];
            store(last, load_some(from + k, left));
            std::memcpy(to, last, std::size_t((left + 1) / 2) * sizeof(Pair));
        }
    }
}

// ---- putting single weights to their places: `at` counts numbers down a column whose elements are `stride` apart ---

INLINE void put(float value, float* column, std::ptrdiff_t at, std::ptrdiff_t stride) { column[at * stride] = value; }

INLINE void put(float value, Pair* column, std::ptrdiff_t at, std::ptrdiff_t stride) {
    std::uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    bits = value == value ? (bits + 0x7FFF + (bits >> 16 & 1)) >> 16 : 0x7FC0;
    std::uint32_t& whole = column[at / 2 * stride].bits;
    whole = at % 2 ? (whole & 0xFFFF) | bits << 16 : bits;
}

// ---- whole numbers of eight bits --------------------------------------------------------------------------------

// They become float32 as they are read.
INLINE Vec load(const Int8* from) {
#if defined(__AVX512F__)
    __m512i wide = _mm512_maskz_cvtepi8_epi32(0xFFFF, _mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
    return Vec(_mm512_maskz_cvtepi32_ps(0xFFFF, wide));
#elif defined(__AVX2__)
    return Vec(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from)))));
#else
    Vec value;
    for (int k = 0; k < LANES; ++k) value[k] = float(from[k]);
    return value;
#endif
}

// The nearest whole number, in -127..127.
INLINE void put(float value, Int8* column, std::ptrdiff_t at, std::ptrdiff_t stride) {
    column[at * stride] = Int8(value < 0 ? value - 0.5f : value + 0.5f);
}

#if defined(__AVX512VNNI__)

// Four whole numbers of eight bits, each with 128 added, and what they are multiplied with: numbers of sixteen bits in
// two halves, 256 * high + low, for which one instruction each adds up four products.
struct Quad {
    std::uint32_t bits;
};
struct Halves {
    std::uint32_t high, low;
};
struct TwoSums {
    Ints high = {}, low = {};
};

template <>
struct Kind<Quad> {
    typedef Halves Row;
    typedef TwoSums Sum;
    static constexpr int registers = 2;
};
template <>
constexpr std::ptrdiff_t numbers_in<Quad> = 4;
template <>
constexpr std::ptrdiff_t numbers_in<Halves> = 4;
template <>
constexpr bool scaled<Quad> = true;
template <>
constexpr bool copied_whole<Halves> = true;
typedef Quad Eighths;  // what weights in eight bits are kept as

INLINE Ints load(const Quad* from) {
    Ints value;
    std::memcpy(&value, from, sizeof value);
    return value;
}

INLINE TwoSums all(Halves four) { return {std::int32_t(four.high) - Ints{}, std::int32_t(four.low) - Ints{}}; }

INLINE TwoSums fma(TwoSums row, Ints weights, TwoSums sums) {
    return {Ints(_mm512_dpbusd_epi32(__m512i(sums.high), __m512i(weights), __m512i(row.high))),
            Ints(_mm512_dpbusd_epi32(__m512i(sums.low), __m512i(weights), __m512i(row.low)))};
}

INLINE TwoSums& operator+=(TwoSums& sums, TwoSums more) {
    sums.high += more.high, sums.low += more.low;
    return sums;
}

INLINE void put(float value, Quad* column, std::ptrdiff_t at, std::ptrdiff_t stride) {
    const std::uint32_t byte = std::uint32_t(int(value < 0 ? value - 0.5f : value + 0.5f) + 128);
    std::uint32_t& whole = column[at / 4 * stride].bits;
    whole = at % 4 ? (whole & ~(0xFFu << at % 4 * 8)) | byte << at % 4 * 8 : byte;
}

// What stands behind a row's copy: its scale, and what the 128 in the weights adds to the sums of each half.
struct RowScale {
    float scale;
    std::int32_t high, low;
};

// To whole numbers in -32639..32639. Where a number is none, or infinite, the scale is none.
INLINE void to_row(const float* from, std::ptrdiff_t count, Halves* to) {
    Vec largest = {}, none = {};
    for (std::ptrdiff_t k = 0; k < count; k += LANES) {
        const Vec value = load_some(from + k, count - k);
        largest = larger(value < 0.0f ? -value : value, largest);
        none += value - value;
    }
    const float most = _mm512_reduce_max_ps(__m512(largest));
    const float scale = (most > 0.0f ? most / 32639.0f : 1.0f) + _mm512_reduce_add_ps(__m512(none));
    Ints highs = {}, lows = {};
    const Vec rate = all(most > 0.0f ? 32639.0f / most : 1.0f);
    for (std::ptrdiff_t k = 0; k < count; k += LANES) {
        const Ints whole = Ints(_mm512_cvtps_epi32(__m512(load_some(from + k, count - k) * rate)));
        const Ints high = (whole + 128) >> 8, low = whole - (high << 8);
        highs += high, lows += low;
        const __m128i h = _mm512_cvtepi32_epi8(__m512i(high)), l = _mm512_cvtepi32_epi8(__m512i(low));
        const __m128i both[2] = {_mm_unpacklo_epi32(h, l), _mm_unpackhi_epi32(h, l)};
        std::memcpy(to + k / 4, both, sizeof both);
    }
    const RowScale behind = {scale, 128 * _mm512_reduce_add_epi32(__m512i(highs)),
                             128 * _mm512_reduce_add_epi32(__m512i(lows))};
    std::memcpy(to + elements<Halves>(count), &behind, sizeof behind);
}

// The sum of products of a row of so many numbers with columns of the given scales.
INLINE Vec value_of(TwoSums sums, const Halves* row, std::ptrdiff_t count, Vec scales) {
    RowScale behind;
    std::memcpy(&behind, row + elements<Halves>(count), sizeof behind);
    const Vec high = __builtin_convertvector(sums.high - behind.high, Vec);
    const Vec low = __builtin_convertvector(sums.low - behind.low, Vec);
    return fma(high, all(256.0f), low) * (scales * all(behind.scale));
}

#else
typedef Int8 Eighths;
#endif

INLINE Vec value_of(Vec sum, const float*, std::ptrdiff_t, Vec scales) { return sum * scales; }

}  // namespace
