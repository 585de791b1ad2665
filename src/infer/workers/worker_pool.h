#pragma once

#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "infer/desired_state.h"
#include "infer/workers/autoscaler.h"

namespace lathe::infer {

class WorkerHost;
class WorkerLog;
struct Frame;

/// What a worker is asked to do with a body.
enum class Ask : std::uint32_t { score = 16, invocations = 17, infer = 18 };

struct WorkerRequest {
  Ask ask = Ask::score;
  std::string head;       ///< JSON about the request, for those who want it
  std::string_view body;  ///< valid until it is answered
};

struct WorkerAnswer {
  int status = 200;
  std::string head;  ///< lines of an HTTP head, each with its CR LF
  std::string body;
  std::chrono::nanoseconds queued{};  ///< until a worker took it
  std::chrono::nanoseconds ran{};     ///< what the model's own function took
};

/// What a pool has come to.
struct WorkerState {
  enum class Stage { starting, ready, failed } stage = Stage::starting;
  std::string error;        ///< of one that failed: a sentence, and the last lines that its workers printed
  std::string description;  ///< of one that is, or was, ready: what the workers say of the model, as JSON
};

/// The processes of one deployment whose model is Python: each computes one request at a time, requests wait for a free
/// one, and one that ends is started again, after a pause that grows. Their number follows the load where the model has
/// a scale: what goes is idle, so no request fails by it; where it came down to none, the next request starts one and
/// waits for it, which is quicker where the host lets an interpreter be parked meanwhile. Thread-safe.
class WorkerPool : public std::enable_shared_from_this<WorkerPool> {
 public:
  using Clock = std::chrono::steady_clock;
  using Done = std::function<void(Result<WorkerAnswer>)>;

  /// Begins to start the workers: returns at once. `on_change` is called on the host's thread after each change of the
  /// state. What was `start`ed must be stopped.
  static std::shared_ptr<WorkerPool> start(WorkerHost& host, const std::string& endpoint, const std::string& deployment,
                                           const DesiredModel& model, std::function<void()> on_change);
  ~WorkerPool();

  WorkerState state() const;
  /// The model's native form, if a worker wrote one (converted.h): gives it away, and is empty from then on.
  std::string take_native_form();
  /// Those that compute, or could.
  int ready_workers() const;
  /// Interpreters that wait, with their modules imported, for the next wake.
  int parked() const;
  /// Ends those.
  void unpark();
  /// "ENDPOINT/DEPLOYMENT", and the GPUs that its workers have or may be given; none, once all have ended for good.
  const std::string& holder() const { return holder_; }
  std::set<int> gpus() const;

  /// Calls `done` exactly once, perhaps at once, on any thread. Errors: `exhausted` — the queue is full, or no worker
  /// became free in time; `unavailable` — no worker runs, or the one that computed it ended; `timeout` — it took longer
  /// than request_timeout_ms, and its worker was ended. The number under which it waits; 0: it does not.
  std::uint64_t ask(WorkerRequest request, Done done);
  /// Nobody waits for this answer any longer: if no worker has the request yet, its place is free for another one.
  void forget(std::uint64_t number);
  /// It has no worker until the next request.
  bool sleeps() const;
  /// Requests that no worker has yet.
  std::size_t waiting() const;

  /// Ends the workers; what they still compute, and what waits, is refused. Returns at once.
  void stop();

 private:
  struct Waiting {
    WorkerRequest request;
    Done done;
    Clock::time_point since;
    std::uint64_t number = 0;
  };
  struct Worker;
  /// Given once the lock is no longer held.
  using Answers = std::vector<std::function<void()>>;

  WorkerPool(WorkerHost& host, const std::string& endpoint, const std::string& deployment, const DesiredModel& model,
             std::function<void()> on_change);

  // On the host's thread.
  void begin();
  void launch(Worker& worker, bool parked);
  void watch_log(Worker& worker);
  void watch_socket(Worker& worker);
  void watch_end(Worker& worker);
  void write_on(Worker& worker);
  bool read_log(Worker& worker);
  void print(Worker& worker, std::string_view bytes);
  void take_frame(Worker& worker, Frame frame, Answers& answers);
  void worker_ended(Worker& worker, int status);
  void launch_later(Worker& worker);
  void tick();
  void poll();
  /// Where the pool sleeps, and the host has room: starts an interpreter for its wake.
  void park();
  std::string with_last_lines(std::string why) const;

  // With the lock held.
  void give(Worker& worker, Waiting waiting);
  void give_next(Worker& worker);
  /// Kills it; `worker_ended` follows.
  void end_worker(Worker& worker, std::string why);
  void await_end(Worker& worker);
  void check_times(Answers& answers);
  void refuse_waiting(Code code, const std::string& why, Answers& answers);
  void keep_ticking();
  /// Whether a worker that has ended is started again.
  bool goes_on(Worker& worker, const std::string& why, Answers& answers);
  int wanted() const;
  bool any_ready() const;
  void want_one();
  /// Makes an interpreter that is parked, and wanted, a worker.
  void wake_parked(Worker& worker);
  bool leave_one();
  void scale_to(int count, Clock::time_point now);
  /// Starts the first worker. False: it is too early after one that failed.
  bool wake(Clock::time_point now);
  /// One that another number of workers needed.
  void start_failed(Worker& worker, const std::string& why, Answers& answers);
  void keep_polling();
  void set_state(WorkerState::Stage stage, std::string error);

  WorkerHost& host_;
  const std::string holder_;
  const DesiredModel model_;
  const std::function<void()> on_change_;
  const std::shared_ptr<WorkerLog> log_;
  std::deque<std::string> last_lines_;  ///< that were printed; of the host's thread
  boost::asio::steady_timer ticker_;    ///< of the host's thread
  boost::asio::steady_timer poller_;    ///< of the host's thread

  mutable std::mutex mutex_;
  WorkerState state_;
  std::string native_form_;  ///< of the worker that was ready first or, while others start, after it
  bool sandboxed_ = false;
  bool stopping_ = false;
  bool ticking_ = false;
  int idle_ticks_ = 0;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::vector<Worker*> idle_;  ///< the last one to become idle is the next to work: its caches are warm
  std::deque<Waiting> waiting_;
  std::uint64_t last_number_ = 0;

  std::optional<Autoscaler> scaler_;  ///< where the number of workers follows the load
  LoadMeter load_;                    ///< requests that are computed or wait
  bool polling_ = false;
  Clock::time_point awake_since_{};  ///< when there was a worker again after there was none
  Clock::time_point last_used_{};    ///< when it was asked last
  int failed_starts_ = 0;            ///< in a row, of workers that the load asked for
  Clock::time_point no_start_before_{};
  std::string no_start_why_;

  std::string imported_;        ///< what the worker that ended last had imported, as it told it
  bool parks_ = true;           ///< false: its code does not load in an interpreter that was parked
  bool parked_failed_ = false;  ///< the last one could not load it; whether a fresh one can is about to be seen
};

/// A pool that is stopped when its owner goes.
class OwnedPool {
 public:
  OwnedPool() = default;
  explicit OwnedPool(std::shared_ptr<WorkerPool> pool) : pool_(std::move(pool)) {}
  OwnedPool(OwnedPool&& other) noexcept : pool_(std::exchange(other.pool_, nullptr)) {}
  OwnedPool& operator=(OwnedPool&& other) noexcept {
    std::swap(pool_, other.pool_);
    return *this;
  }
  ~OwnedPool() {
    if (pool_) pool_->stop();
  }
  WorkerPool* operator->() const { return pool_.get(); }
  explicit operator bool() const { return pool_ != nullptr; }

 private:
  std::shared_ptr<WorkerPool> pool_;
};

}  // namespace lathe::infer
