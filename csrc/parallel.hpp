// Work shared by threads, and the memory it needs.
#pragma once

#include "seqloom.h"
#include "vec.hpp"

namespace {

typedef std::ptrdiff_t Size;

INLINE Size ceil_div(Size a, Size b) { return (a + b - 1) / b; }

// Scratch that is freed at the end of the scope.
struct Scratch {
    static constexpr int MOST = 32;
    struct {
        void* memory;
        std::size_t bytes;
    } held[MOST];
    int count = 0;
    bool failed = false;

    template <class Number>
    Number* take(Size numbers) {
        const std::size_t bytes = std::size_t(numbers > 0 ? numbers : 1) * sizeof(Number);
        void* memory = count < MOST ? seqloom_alloc(bytes) : nullptr;
        if (memory == nullptr) {
            failed = true;
            return nullptr;
        }
        held[count++] = {memory, bytes};
        return static_cast<Number*>(memory);
    }
    ~Scratch() {
        for (int k = 0; k < count; ++k) seqloom_free(held[k].memory, held[k].bytes);
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

}  // namespace
