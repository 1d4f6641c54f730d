// The threads that kernels share.
//
// Where GNU's OpenMP runtime is in the process already, as it is with torch on Linux, its threads do the work: they
// wait actively for milliseconds after each of torch's operations and would fight any others for the cores. Elsewhere
// there is a pool of our own. Its threads wait actively for a moment after each task, since the next one mostly
// follows at once, then sleep. Whoever finds it busy works alone, and so does a forked child, whose parent's threads
// are not there: results do not depend on the number of threads.
#include <dlfcn.h>
#include <sys/types.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>
#include <thread>

#if defined(__linux__)
#include <sys/syscall.h>
#endif

#include "seqloom.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace {

void pause() {
#if defined(__x86_64__)
    _mm_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

// Waits actively for a moment, then lets others have the core now and then.
class Patience {
   public:
    void wait() {
        if (++spins_ < 4096)
            pause();
        else
            std::this_thread::yield();
    }
    bool lost() const { return spins_ > 20000; }

   private:
    int spins_ = 0;
};

// Denormal numbers cost a hundred times as much as others, and decaying states are full of them.
class FlushDenormals {
   public:
#if defined(__x86_64__)
    FlushDenormals() : before_(_mm_getcsr()) { _mm_setcsr(before_ | 0x8040); }
    ~FlushDenormals() { _mm_setcsr(before_); }

   private:
    unsigned before_;
#else
    FlushDenormals() {}
#endif
};

// The entry points of the OpenMP runtime that somebody else has loaded.
class OpenMP {
   public:
    OpenMP()
        : parallel_(reinterpret_cast<Parallel>(dlsym(RTLD_DEFAULT, "GOMP_parallel"))),
          rank_(reinterpret_cast<Number>(dlsym(RTLD_DEFAULT, "omp_get_thread_num"))),
          threads_(reinterpret_cast<Number>(dlsym(RTLD_DEFAULT, "omp_get_num_threads"))) {}

    bool found() const { return parallel_ && rank_ && threads_; }

    void run(int threads, SeqloomTask task, void* context) const {
        Work work = {this, task, context};
        parallel_(&OpenMP::work, &work, unsigned(threads), 0);
    }

   private:
    using Parallel = void (*)(void (*)(void*), void*, unsigned, unsigned);
    using Number = int (*)();
    struct Work {
        const OpenMP* runtime;
        SeqloomTask task;
        void* context;
    };
    static void work(void* data) {
        const Work& work = *static_cast<Work*>(data);
        FlushDenormals flush;
        work.task(work.context, work.runtime->rank_(), work.runtime->threads_());
    }

    Parallel parallel_;
    Number rank_, threads_;
};

class Pool {
   public:
    void run(int threads, SeqloomTask task, void* context) {
        FlushDenormals flush;
        if (threads < 2 || !mutex_.try_lock()) return task(context, 0, 1);
        if (!grow(threads - 1)) threads = size_ + 1;
        if (threads < 2) {
            mutex_.unlock();
            return task(context, 0, 1);
        }
        task_ = task, context_ = context, threads_ = threads;
        remaining_.store(threads - 1, std::memory_order_relaxed);
        {
            std::lock_guard<std::mutex> lock(sleep_);
            round_.fetch_add(1, std::memory_order_release);
        }
        wake_.notify_all();
        task(context, 0, threads);
        for (Patience patience; remaining_.load(std::memory_order_acquire) > 0;) patience.wait();
        mutex_.unlock();
    }

   private:
    // At least so many threads beside the caller's.
    bool grow(int wanted) {
        while (size_ < wanted) {
            try {
                std::thread(&Pool::work, this, size_ + 1, round_.load()).detach();
            } catch (...) {
                return false;
            }
            ++size_;
        }
        return true;
    }

    void work(int rank, unsigned seen) {
        FlushDenormals flush;
        for (;;) {
            for (Patience patience; round_.load(std::memory_order_acquire) == seen && !patience.lost();)
                patience.wait();
            {
                std::unique_lock<std::mutex> lock(sleep_);
                wake_.wait(lock, [&] { return round_.load(std::memory_order_acquire) != seen; });
            }
            seen = round_.load(std::memory_order_acquire);
            if (rank < threads_) {
                task_(context_, rank, threads_);
                remaining_.fetch_sub(1, std::memory_order_release);
            }
        }
    }

    std::mutex mutex_, sleep_;
    std::condition_variable wake_;
    std::atomic<unsigned> round_{0};
    std::atomic<int> remaining_{0};
    SeqloomTask task_ = nullptr;
    void* context_ = nullptr;
    int threads_ = 0, size_ = 0;
};

// Who calls first owns the threads; a child that was forked later has none of them. Never destroyed: the threads run
// until the process ends.
struct Threads {
    pid_t owner = getpid();
    OpenMP openmp;
    Pool pool;
};

Threads& threads_of_process() {
    static Threads* made = new Threads;
    return *made;
}

std::atomic<bool> own_pool{false};

}  // namespace

extern "C" {

void seqloom_parallel(int threads, SeqloomTask task, void* context) {
    Threads& all = threads_of_process();
    if (threads < 2 || all.owner != getpid()) {
        FlushDenormals flush;
        task(context, 0, 1);
    } else if (all.openmp.found() && !own_pool.load(std::memory_order_relaxed)) {
        all.openmp.run(threads, task, context);
    } else {
        all.pool.run(threads, task, context);
    }
}

void seqloom_use_own_pool(int on) { own_pool.store(on != 0); }

void seqloom_wait(SeqloomBarrier* barrier, int threads) {
    std::atomic_ref<int32_t> arrived(barrier->arrived), round(barrier->round);
    const int32_t own = round.load(std::memory_order_relaxed);
    if (arrived.fetch_add(1, std::memory_order_acq_rel) + 1 == threads) {
        arrived.store(0, std::memory_order_relaxed);
        round.store(own + 1, std::memory_order_release);
        return;
    }
    for (Patience patience; round.load(std::memory_order_acquire) == own;) patience.wait();
}

int seqloom_tiles_allowed(void) {
#if defined(__linux__) && defined(__x86_64__)
    constexpr long REQUEST_PERMISSION = 0x1023, TILE_DATA = 18;  // of asm/prctl.h, which may be older
    return syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
#else
    return 0;
#endif
}

size_t seqloom_cache_bytes(void) {
#if defined(_SC_LEVEL2_CACHE_SIZE)
    static const long found = sysconf(_SC_LEVEL2_CACHE_SIZE);
    if (found > 0) return size_t(found);
#endif
    return size_t(1) << 20;
}
}
