// A parallel loop on XLA's own threads, which wait awake for the next one.
//
// A network is some hundred loops of some dozens of microseconds each. A thread that sleeps in between has to be woken
// for every loop, which takes as long as the loop, and is often woken on the processor of the thread that wakes it, where
// both then take turns. So a helper looks out for the next loop for a while, and who started a loop for its end.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>

#include "xla/ffi/api/ffi.h"

namespace ddim_jax {

constexpr std::chrono::microseconds kAwake{100};

// Waits awake, but lets other threads pass, until `ready` or for kAwake; returns whether it is ready.
template <typename Ready>
bool WaitAwake(const Ready& ready) {
  for (auto end = std::chrono::steady_clock::now() + kAwake; !ready(); std::this_thread::yield())
    if (std::chrono::steady_clock::now() > end) return ready();
  return true;
}

// The tasks of one loop: run(body, 0) .. run(body, tasks - 1).
struct Loop {
  const int64_t tasks;
  void (*const run)(const void* body, int64_t task);
  const void* const body;
  std::atomic<int64_t> next{0}, done{0};
  std::mutex mutex;
  std::condition_variable finished;
  std::exception_ptr error;

  bool Ended() const { return done.load() == tasks; }

  // Runs tasks until none is left. Who comes after the loop has ended finds none and never touches `body`.
  void Work() {
    for (int64_t task; (task = next.fetch_add(1)) < tasks;) {
      try {
        run(body, task);
      } catch (...) {
        std::lock_guard<std::mutex> lock(mutex);
        if (!error) error = std::current_exception();
      }
      if (done.fetch_add(1) + 1 == tasks) {
        std::lock_guard<std::mutex> lock(mutex);
        finished.notify_all();
      }
    }
  }
};

// Where helpers find the loop that was started last.
struct Board {
  std::mutex mutex;
  std::shared_ptr<Loop> loop;
  std::atomic<int64_t> version{0};  // counts the loops
  std::atomic<int64_t> helpers{0};  // that are awake or on their way

  void Show(const std::shared_ptr<Loop>& started) {
    std::lock_guard<std::mutex> lock(mutex);
    loop = started;
    ++version;
  }

  // The work of a helper, until no loop has been started for a while.
  void Help() {
    for (int64_t seen;;) {
      std::shared_ptr<Loop> latest;
      {
        std::lock_guard<std::mutex> lock(mutex);
        latest = loop, seen = version;
      }
      latest->Work();
      auto another = [&] { return version != seen; };
      if (WaitAwake(another)) continue;
      --helpers;
      if (!another()) return;  // else a loop was started that still counted on this helper
      ++helpers;
    }
  }
};

// The board of all pools. It is never deleted: a helper may still look at it when the process ends.
inline Board& TheBoard() {
  static Board& board = *new Board;
  return board;
}

// Runs body(0) .. body(tasks - 1) on the calling thread and on XLA's. The caller works too, so the loop ends even if every
// other thread is busy. Which thread runs a task is open; what a task computes must not depend on it. Once all tasks have
// ended, the first exception of one of them is thrown again.
template <typename Body>
void ParallelFor(xla::ffi::ThreadPool& pool, int64_t tasks, const Body& body) {
  Board& board = TheBoard();
  auto run = [](const void* of, int64_t task) { (*static_cast<const Body*>(of))(task); };
  std::shared_ptr<Loop> loop(new Loop{tasks, run, &body});
  int64_t wanted = std::min<int64_t>(tasks, pool.num_threads()) - 1;
  if (wanted > 0) {
    board.Show(loop);
    while (board.helpers < wanted) {
      ++board.helpers;
      pool.Schedule([] { TheBoard().Help(); });
    }
  }
  loop->Work();
  if (!WaitAwake([&] { return loop->Ended(); })) {
    std::unique_lock<std::mutex> lock(loop->mutex);
    loop->finished.wait(lock, [&] { return loop->Ended(); });
  }
  std::lock_guard<std::mutex> lock(loop->mutex);
  if (loop->error) std::rethrow_exception(loop->error);
}

}  // namespace ddim_jax
