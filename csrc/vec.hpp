// One vector of floats of the instruction set that this file is compiled for, and the functions that cells need.
//
// Every translation unit that includes this is compiled with `-ffp-contract=off`: where a product is fused with a
// sum is written out as `fma`, so that one value is computed by the same operations wherever it is computed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(__AVX512F__) || defined(__AVX2__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace {

#if defined(__AVX512F__)
constexpr int LANES = 16;
constexpr int ACCUMULATORS = 24;  // of 32 registers; the rest hold weights and inputs
#elif defined(__AVX2__)
constexpr int LANES = 8;
constexpr int ACCUMULATORS = 12;  // of 16 registers
#elif defined(__aarch64__)
constexpr int LANES = 4;
constexpr int ACCUMULATORS = 24;
#else
constexpr int LANES = 4;
constexpr int ACCUMULATORS = 12;
#endif

typedef float Vec __attribute__((vector_size(4 * LANES)));
typedef std::int32_t Ints __attribute__((vector_size(4 * LANES)));

#define INLINE inline __attribute__((always_inline))

INLINE Vec load(const float* from) {
    Vec value;
    std::memcpy(&value, from, sizeof value);
    return value;
}

INLINE void store(float* to, Vec value) { std::memcpy(to, &value, sizeof value); }

// The first `count` lanes, zeros behind them.
INLINE Vec load_some(const float* from, std::ptrdiff_t count) {
    if (count >= LANES) return load(from);
    Vec value = {};
    if (count > 0) std::memcpy(&value, from, std::size_t(count) * sizeof(float));
    return value;
}

INLINE void store_some(float* to, Vec value, std::ptrdiff_t count) {
    if (count >= LANES) return store(to, value);
    if (count > 0) std::memcpy(to, &value, std::size_t(count) * sizeof(float));
}

INLINE Vec all(float value) { return value - Vec{}; }

INLINE Vec floats(Ints bits) { return (Vec)bits; }

INLINE Vec fma(Vec a, Vec b, Vec c) {
#if defined(__AVX512F__)
    return Vec(_mm512_fmadd_ps(__m512(a), __m512(b), __m512(c)));
#elif defined(__AVX2__)
    return Vec(_mm256_fmadd_ps(__m256(a), __m256(b), __m256(c)));
#elif defined(__aarch64__)
    return Vec(vfmaq_f32(float32x4_t(c), float32x4_t(a), float32x4_t(b)));
#else
    return a * b + c;
#endif
}

// 1 / x for finite x >= 1.
INLINE Vec reciprocal(Vec x) {
#if defined(__AVX512F__)
    // The estimate is good to 14 bits and one step of Newton doubles them; a division takes four times as long.
    Vec y = Vec(_mm512_maskz_rcp14_ps(0xFFFF, __m512(x)));
    return fma(y, fma(-x, y, all(1.0f)), y);
#else
    return all(1.0f) / x;
#endif
}

// a / b for finite b >= 1, rounded as a division is but for rare last bits.
INLINE Vec quotient(Vec a, Vec b) {
#if defined(__AVX512F__)
    Vec inverse = reciprocal(b), value = a * inverse;
    return fma(inverse, fma(-b, value, a), value);
#else
    return a / b;
#endif
}

INLINE Vec smaller(Vec a, Vec b) { return a < b ? a : b; }  // b where a is NaN
INLINE Vec larger(Vec a, Vec b) { return a > b ? a : b; }

// x within low..high; NaN stays NaN.
INLINE Vec within(Vec x, float low, float high) {
#if defined(__AVX512F__)
    const __m512 least = _mm512_maskz_min_ps(0xFFFF, __m512(all(high)), __m512(x));
    return Vec(_mm512_maskz_max_ps(0xFFFF, __m512(all(low)), least));
#else
    return x > all(high) ? all(high) : (x < all(low) ? all(low) : x);
#endif
}

// value * 2^n for whole n whose powers are normal numbers.
INLINE Vec times_power(Vec value, Vec n) {
#if defined(__AVX512F__)
    return Vec(_mm512_maskz_scalef_ps(0xFFFF, __m512(value), __m512(n)));
#else
    return value * floats((__builtin_convertvector(n, Ints) + 127) << 23);
#endif
}

// e^x = 2^n * (1 + rest), n the whole number next to x / ln 2.
struct Power {
    Vec n, rest;
};
INLINE Power power(Vec x) {
    const Vec shift = all(12582912.0f);  // 1.5 * 2^23: adding it rounds to a whole number
    Vec n = fma(x, all(1.44269504088896341f), shift) - shift;
    // ln 2 in two parts, the first short enough for n times it to be exact.
    Vec r = fma(n, all(-0.693359375f), x);
    r = fma(n, all(2.12194440e-4f), r);
    Vec p = all(1.9875691500e-4f);
    p = fma(p, r, all(1.3981999507e-3f));
    p = fma(p, r, all(8.3334519073e-3f));
    p = fma(p, r, all(4.1665795894e-2f));
    p = fma(p, r, all(1.6666665459e-1f));
    p = fma(p, r, all(5.0000001201e-1f));
    return {n, fma(p, r * r, r)};
}

// e^x to about one unit in the last place; x beyond what float32 holds is cut off, NaN stays NaN.
INLINE Vec exp(Vec x) {
    const Power e = power(within(x, -87.0f, 88.0f));
    return times_power(e.rest + all(1.0f), e.n);
}

INLINE Vec sigmoid(Vec x) { return reciprocal(all(1.0f) + exp(-x)); }

// (e^2x - 1) / (e^2x + 1) with the sign of x. As `rest` is not rounded at one, e^2x - 1 is as exact near zero as elsewhere.
INLINE Vec tanh(Vec x) {
    const Ints sign = (Ints)x & INT32_MIN;
    const Vec size = floats((Ints)x ^ sign);
    const Power e = power(within(size + size, 0.0f, 20.0f));
    const Vec scale = times_power(all(1.0f), e.n);
    const Vec less_one = fma(scale, e.rest, scale - all(1.0f));
    return floats((Ints)quotient(less_one, less_one + all(2.0f)) | sign);
}

// log(sigmoid(x)) = min(x, 0) - log(1 + e^-|x|).
INLINE Vec log_sigmoid(Vec x);

// ln x for x in [1, 2]: 2 artanh(s) with s = (x - 1) / (x + 1) in [0, 1/3].
INLINE Vec log_from_one_to_two(Vec x) {
    Vec s = (x - all(1.0f)) * reciprocal(x + all(1.0f));
    Vec square = s * s;
    Vec p = all(2.0f / 15);
    p = fma(p, square, all(2.0f / 13));
    p = fma(p, square, all(2.0f / 11));
    p = fma(p, square, all(2.0f / 9));
    p = fma(p, square, all(2.0f / 7));
    p = fma(p, square, all(2.0f / 5));
    p = fma(p, square, all(2.0f / 3));
    return fma(p * square, s, s + s);
}

INLINE Vec log_sigmoid(Vec x) {
    Vec size = x < 0.0f ? -x : x;
    Vec rest = log_from_one_to_two(all(1.0f) + exp(-size));
    return (x < 0.0f ? x : Vec{}) - rest;
}

}  // namespace
