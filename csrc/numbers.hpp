// What products multiply: float32, neighbours in bfloat16, and whole numbers of eight bits as weights of live sequences.
//
// A kind says what its weights are multiplied with (`Row`) and how many numbers of a sum one element holds
// (`numbers_in`). For each there is `load` of LANES weights, `all` of one element of a row, and `fma` of both: so the
// loops of matmul.hpp know none of them.
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
    typedef float Row;
};
template <>
struct Kind<Pair> {
    typedef Pair Row;
};

template <class Element>
constexpr std::ptrdiff_t numbers_in = 1;
template <>
constexpr std::ptrdiff_t numbers_in<Pair> = 2;

// So many elements hold so many numbers.
template <class Element>
INLINE std::ptrdiff_t elements(std::ptrdiff_t numbers) {
    return (numbers + numbers_in<Element> - 1) / numbers_in<Element>;
}

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

INLINE Vec floats(Ints bits) { return (Vec)bits; }

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

// An element of ones: its product with another adds that one's numbers up.
INLINE float ones(float) { return 1.0f; }
INLINE Pair ones(Pair) { return {0x3F803F80}; }

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

}  // namespace
