#include "infer/workers/worker_pool.h"

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <csignal>
#include <cstring>

#include "base/text.h"
#include "base/utf8.h"
#include "infer/workers/pool_worker.h"
#include "infer/workers/worker_host.h"
#include "infer/workers/worker_log.h"
#include "infer/workers/worker_process.h"

namespace lathe::infer {
namespace {

namespace asio = boost::asio;
using Descriptor = asio::posix::stream_descriptor;
using std::chrono::milliseconds;

constexpr milliseconds kTick{20};
constexpr int kMostIdleTicks = 50;
constexpr std::chrono::minutes kStartLimit{10};
constexpr std::chrono::seconds kEndGrace{1};   ///< from the end of its socket to its own
constexpr std::chrono::seconds kStopGrace{5};  ///< for what it still has to do when nothing more comes
/// So many ends in a row without an answer between them: the deployment has failed.
constexpr int kMostFailures = 3;
constexpr std::size_t kLastLines = 24;
constexpr std::size_t kLongestLine = std::size_t{64} << 10;

std::string how_it_ended(int status) {
  if (WIFSIGNALED(status)) return std::string("it was ended by a signal: ") + strsignal(WTERMSIG(status));
  const int code = WEXITSTATUS(status);
  // Of a sandbox, which tells so of what ran in it.
  if (code > 128) return std::string("it was ended by a signal: ") + strsignal(code - 128);
  return "it ended by itself with exit status " + std::to_string(code);
}

/// Nobody killed it. A sandbox ends with 128 and the signal by which the worker ended.
bool ended_by_itself(int status) {
  constexpr int kSignalled = 128;
  return WIFEXITED(status) && WEXITSTATUS(status) <= kSignalled;
}

/// A worker's words for others: they may be any bytes, and very many.
std::string readable(std::string text) {
  constexpr std::size_t kMost = 4000;
  if (text.size() > kMost) text.replace(kMost, std::string::npos, "...");
  return as_utf8(std::move(text));
}

}  // namespace

std::shared_ptr<WorkerPool> WorkerPool::start(WorkerHost& host, const std::string& endpoint,
                                              const std::string& deployment, const DesiredModel& model,
                                              std::function<void()> on_change) {
  std::shared_ptr<WorkerPool> pool(new WorkerPool(host, endpoint, deployment, model, std::move(on_change)));
  host.add(pool);
  asio::post(host.io(), [pool] { pool->begin(); });
  return pool;
}

WorkerPool::WorkerPool(WorkerHost& host, const std::string& endpoint, const std::string& deployment,
                       const DesiredModel& model, std::function<void()> on_change)
    : host_(host),
      holder_(endpoint + "/" + deployment),
      model_(model),
      on_change_(std::move(on_change)),
      log_(host.log_of(endpoint, deployment)),
      ticker_(host.io()),
      poller_(host.io()) {
  if (model.scale) scaler_.emplace(*model.scale);
}

WorkerPool::~WorkerPool() = default;

WorkerState WorkerPool::state() const {
  const std::lock_guard lock(mutex_);
  return state_;
}

std::set<int> WorkerPool::gpus() const {
  std::set<int> out;
  for (const auto& each : model_.python->gpus) out.insert(each.numbers.begin(), each.numbers.end());
  const std::lock_guard lock(mutex_);
  const auto is_gone = [](const auto& worker) { return worker->stage == Worker::Stage::gone; };
  if (stopping_ && std::all_of(workers_.begin(), workers_.end(), is_gone)) out.clear();
  return out;
}

std::string WorkerPool::take_native_form() {
  const std::lock_guard lock(mutex_);
  return std::exchange(native_form_, {});
}

void WorkerPool::set_state(WorkerState::Stage stage, std::string error) {
  if (state_.stage == stage) return;
  state_.stage = stage;
  state_.error = std::move(error);
  on_change_();
}

void WorkerPool::begin() {
  const auto& python = *model_.python;
  const auto why_not = why_no_sandbox(python.account);
  const std::lock_guard lock(mutex_);
  const bool as_root = ::geteuid() == 0;
  sandboxed_ = why_not.empty() && (as_root || python.image || python.isolation != "off");
  if (python.image && !sandboxed_)
    return set_state(WorkerState::Stage::failed, "an image is entered as a sandbox is, and " + why_not);
  if (as_root && (!sandboxed_ || python.account == 0))
    return set_state(WorkerState::Stage::failed,
                     "as root, Python is run in a sandbox and as another account alone, and " +
                         (why_not.empty() ? "none is named" : why_not));
  const auto& scale = model_.scale;
  const int count = scale ? std::clamp(python.workers, std::max(scale->least, 1), scale->most) : python.workers;
  for (int i = 0; i < count; ++i) want_one();
  if (scaler_) scaler_->hold(Clock::now(), count);
}

void WorkerPool::launch(Worker& worker, bool parked) {
  {
    const std::lock_guard lock(mutex_);
    if (stopping_ || worker.wanted == parked || worker.stage != Worker::Stage::gone)
      return parked ? host_.has_parked_no_longer(this) : void();
    worker.was_ready = false;
    worker.was_parked = parked;
  }
  auto process = start_worker(model_, worker.number, sandboxed_, parked);
  if (!process) {
    worker.why = process.error().message;
    return worker_ended(worker, 0);
  }
  host_.began(process->pid);
  worker.socket.assign(process->socket.release());
  worker.log.assign(process->log.release());
  worker.ended.assign(process->ended.release());
  {
    const std::lock_guard lock(mutex_);
    worker.pid = process->pid;
    worker.channel = Channel(worker.socket.native_handle());
    worker.stage = Worker::Stage::starting;
    worker.since = Clock::now();
    worker.why.clear();
    if (parked) {
      // Nothing wakes it before that, and the socket takes this much at once; where it does not, there is none.
      const auto told = worker.channel.send(kPark, imported_, {});
      worker.stage = Worker::Stage::parking;
      if (!told || !*told)
        end_worker(worker, "it cannot be told what to import");
      else if (worker.wanted)
        wake_parked(worker);  // what was asked meanwhile found it gone
    }
    keep_ticking();
  }
  watch_log(worker);
  watch_socket(worker);
  watch_end(worker);
}

void WorkerPool::watch_log(Worker& worker) {
  worker.log.async_wait(Descriptor::wait_read, [this, self = shared_from_this(), &worker](const auto& error) {
    if (!error && read_log(worker)) watch_log(worker);
  });
}

/// False at the end.
bool WorkerPool::read_log(Worker& worker) {
  char piece[16384];
  const auto count = ::read(worker.log.native_handle(), piece, sizeof piece);
  if (count > 0) print(worker, {piece, static_cast<std::size_t>(count)});
  return count > 0 || (count < 0 && (errno == EAGAIN || errno == EINTR));
}

void WorkerPool::print(Worker& worker, std::string_view bytes) {
  worker.line += bytes;
  std::vector<std::string> lines;
  std::size_t at = 0;
  for (auto end = worker.line.find('\n'); end != std::string::npos; end = worker.line.find('\n', at)) {
    lines.push_back(worker.line.substr(at, end - at));
    at = end + 1;
  }
  worker.line.erase(0, at);
  if (worker.line.size() > kLongestLine) lines.push_back(std::exchange(worker.line, {}));
  for (const auto& line : lines)
    if (!trim(line).empty()) last_lines_.push_back(readable(line));
  while (last_lines_.size() > kLastLines) last_lines_.pop_front();
  log_->add(worker.number, lines);
}

std::string WorkerPool::with_last_lines(std::string why) const {
  if (!last_lines_.empty()) why += "; the last lines of its log:";
  for (const auto& line : last_lines_) why += "\n" + line;
  return why;
}

void WorkerPool::watch_socket(Worker& worker) {
  worker.socket.async_wait(Descriptor::wait_read, [this, self = shared_from_this(), &worker](const auto& error) {
    if (error) return;
    Answers answers;
    bool open = true;
    {
      const std::lock_guard lock(mutex_);
      while (open) {
        auto frame = worker.channel.receive();
        if (frame && !*frame) break;
        open = frame.has_value();
        if (open)
          take_frame(worker, std::move(**frame), answers);
        else if (frame.error().code == Code::invalid)
          end_worker(worker, frame.error().message);
        else
          await_end(worker);
      }
    }
    for (const auto& answer : answers) answer();
    if (open) watch_socket(worker);
  });
}

void WorkerPool::take_frame(Worker& worker, Frame frame, Answers& answers) {
  if (frame.kind == kFailed) {
    worker.why = readable(std::move(frame.head));
    parked_failed_ = worker.was_parked;
    return;
  }
  if (frame.kind == kParked) {
    if (worker.stage == Worker::Stage::parking) worker.stage = Worker::Stage::parked;
    return;
  }
  if (frame.kind == kImported) {
    imported_ = std::move(frame.head);
    return;
  }
  if (frame.kind == kReady && worker.stage == Worker::Stage::starting) {
    state_.description = std::move(frame.head);
    if (state_.stage == WorkerState::Stage::starting) native_form_ = std::move(frame.body);
    if (!any_ready()) awake_since_ = Clock::now();
    worker.was_ready = true;
    if (std::exchange(parked_failed_, false) && !worker.was_parked) parks_ = false;
    give_next(worker);
    const auto is_there = [](const auto& each) { return !each->wanted || each->is_ready(); };
    const bool all_there =
        state_.stage == WorkerState::Stage::starting && std::all_of(workers_.begin(), workers_.end(), is_there);
    const bool mended = state_.stage == WorkerState::Stage::failed && failed_starts_ > 0;
    failed_starts_ = 0;
    no_start_before_ = {};
    if (all_there || mended) set_state(WorkerState::Stage::ready, {});
    if (all_there) keep_polling();
    return;
  }
  if (worker.stage != Worker::Stage::busy || !worker.current) return;  // it was answered otherwise
  WorkerAnswer answer{static_cast<int>(frame.kind), std::move(frame.head), std::move(frame.body), worker.queued,
                      std::chrono::nanoseconds(frame.nanoseconds)};
  answers.emplace_back(
      [done = std::move(worker.current->done), given = std::move(answer)]() mutable { done(std::move(given)); });
  worker.current.reset();
  load_.add(Clock::now(), -1);
  worker.failures = 0;
  if (state_.stage == WorkerState::Stage::failed) set_state(WorkerState::Stage::ready, {});
  give_next(worker);
}

void WorkerPool::give_next(Worker& worker) {
  worker.stage = Worker::Stage::idle;
  if (waiting_.empty()) {
    idle_.push_back(&worker);
    return;
  }
  auto next = std::move(waiting_.front());
  waiting_.pop_front();
  give(worker, std::move(next));
}

void WorkerPool::give(Worker& worker, Waiting waiting) {
  worker.stage = Worker::Stage::busy;
  worker.since = Clock::now();
  worker.queued = worker.since - waiting.since;
  worker.current = std::move(waiting);
  auto& request = worker.current->request;
  const auto sent = worker.channel.send(static_cast<std::uint32_t>(request.ask), std::move(request.head), request.body);
  // Where the worker is gone, its end is about to be seen.
  if (sent && !*sent) asio::post(host_.io(), [this, self = shared_from_this(), &worker] { write_on(worker); });
  keep_ticking();
}

void WorkerPool::write_on(Worker& worker) {
  worker.socket.async_wait(Descriptor::wait_write, [this, self = shared_from_this(), &worker](const auto& error) {
    if (error) return;
    bool more = false;
    {
      const std::lock_guard lock(mutex_);
      if (worker.stage != Worker::Stage::busy || !worker.current) return;
      const auto sent = worker.channel.send_on();
      more = sent && !*sent;
    }
    if (more) write_on(worker);
  });
}

std::uint64_t WorkerPool::ask(WorkerRequest request, Done done) {
  const auto full = [](std::string why) { return fail(Code::exhausted, std::move(why)); };
  Result<WorkerAnswer> refused = WorkerAnswer{};
  {
    const std::lock_guard lock(mutex_);
    const auto now = Clock::now();
    Waiting waiting{std::move(request), std::move(done), now};
    const auto most = static_cast<std::size_t>(model_.python->max_queue);
    const auto is_there = [](const auto& worker) { return worker->stage != Worker::Stage::gone; };
    const auto count_in = [&] {
      keep_polling();
      load_.add(now, 1);
      last_used_ = now;
    };
    if (!idle_.empty()) {
      auto* const worker = idle_.back();
      idle_.pop_back();
      count_in();
      give(*worker, std::move(waiting));
      return 0;
    }
    const bool sleeps = scaler_ && wanted() == 0;
    if (stopping_)
      refused = fail(Code::unavailable, "the deployment is ending");
    else if (sleeps && !wake(now))
      refused = fail(Code::unavailable, no_start_why_ + "; it is tried again in a moment");
    else if (!sleeps && state_.stage == WorkerState::Stage::failed &&
             std::none_of(workers_.begin(), workers_.end(), is_there))
      refused = fail(Code::unavailable, "no worker of the deployment runs; its log says why");
    else if (waiting_.size() >= most)
      refused = full("the deployment's queue is full (" + std::to_string(most) + " requests wait); try again later");
    else {
      waiting.number = ++last_number_;
      waiting_.push_back(std::move(waiting));
      count_in();
      keep_ticking();
      return last_number_;
    }
    done = std::move(waiting.done);
  }
  done(std::move(refused));
  return 0;
}

void WorkerPool::end_worker(Worker& worker, std::string why) {
  std::erase(idle_, &worker);
  if (worker.stage == Worker::Stage::gone) return;
  worker.stage = Worker::Stage::ending;
  worker.why = std::move(why);
  ::kill(-worker.pid, SIGKILL);
}

/// It said that it ends: how it does, its process tells in a moment.
void WorkerPool::await_end(Worker& worker) {
  std::erase(idle_, &worker);
  if (worker.stage == Worker::Stage::gone || worker.stage == Worker::Stage::ending) return;
  worker.stage = Worker::Stage::ending;
  worker.since = Clock::now();
  keep_ticking();
}

void WorkerPool::watch_end(Worker& worker) {
  worker.ended.async_wait(Descriptor::wait_read, [this, self = shared_from_this(), &worker](const auto& error) {
    if (error) return;
    // Asio uses what it keeps of a descriptor again, so that this may be an older one's readiness.
    siginfo_t ended{};
    const int known = ::waitid(P_PID, static_cast<id_t>(worker.pid), &ended, WEXITED | WNOHANG | WNOWAIT);
    if (known == 0 ? ended.si_pid == 0 : errno == EINTR) return watch_end(worker);
    ::kill(-worker.pid, SIGKILL);  // what it left; its number is still taken
    int status = 0;
    const auto pid = ::waitpid(worker.pid, &status, WNOHANG);
    if (pid == 0 || (pid < 0 && errno == EINTR)) return watch_end(worker);
    worker_ended(worker, status);
  });
}

void WorkerPool::worker_ended(Worker& worker, int status) {
  Answers answers;
  if (worker.pid >= 0) {
    while (worker.log.is_open() && read_log(worker) && errno != EAGAIN) continue;
    if (!worker.line.empty()) print(worker, "\n");
    {  // Its end may be seen before its last words.
      const std::lock_guard lock(mutex_);
      for (auto frame = worker.channel.receive(); frame && *frame; frame = worker.channel.receive()) {
        const auto kind = (**frame).kind;
        if (kind == kFailed || kind == kImported) take_frame(worker, std::move(**frame), answers);
      }
    }
    boost::system::error_code ignored;
    worker.socket.close(ignored);
    worker.log.close(ignored);
    worker.ended.close(ignored);
  }
  const auto pid = worker.pid;
  bool again = false;
  bool from_new = false;  // where a parked interpreter did not become a worker
  bool stopping = false;
  std::string why;
  {
    const std::lock_guard lock(mutex_);
    stopping = stopping_;
    std::erase(idle_, &worker);
    if (worker.was_parked) host_.has_parked_no_longer(this);
    worker.stage = Worker::Stage::gone;
    worker.pid = -1;
    why = !worker.why.empty() ? worker.why : how_it_ended(status);
    if (worker.current)
      answers.emplace_back([done = std::move(worker.current->done), why] {
        done(fail(Code::unavailable, "the worker that computed this has ended (" + why + "); another one takes over"));
      });
    if (worker.current) load_.add(Clock::now(), -1);
    worker.current.reset();
    from_new = !stopping_ && worker.wanted && worker.was_parked && !worker.was_ready;
    if (from_new && ended_by_itself(status)) parked_failed_ = true;
    again = !stopping_ && worker.wanted && !from_new && goes_on(worker, why, answers);
  }
  for (const auto& answer : answers) answer();
  host_.ended(pid);
  if (stopping && !model_.python->gpus.empty()) on_change_();  // others may have its GPUs now
  if (from_new) {
    log_->add(worker.number, {"[lathe] the parked interpreter has ended, and a new one is started: " + why});
    return launch(worker, false);
  }
  if (!again) return park();
  log_->add(worker.number, {"[lathe] the worker has ended and is started again: " + why});
  launch_later(worker);
}

bool WorkerPool::goes_on(Worker& worker, const std::string& why, Answers& answers) {
  ++worker.failures;
  const bool never_ready = state_.stage == WorkerState::Stage::starting;
  if (!never_ready && scaler_ && !worker.was_ready && wanted() > model_.scale->least) {
    start_failed(worker, why, answers);
    return false;
  }
  const auto is_lost = [](const auto& each) {
    return !each->wanted || (each->stage == Worker::Stage::gone && each->failures >= kMostFailures);
  };
  if (never_ready || std::all_of(workers_.begin(), workers_.end(), is_lost)) {
    set_state(WorkerState::Stage::failed,
              with_last_lines(never_ready ? why : "its workers end again and again: " + why));
    refuse_waiting(Code::unavailable, "no worker of the deployment runs; its log says why", answers);
  }
  return !never_ready;
}

void WorkerPool::launch_later(Worker& worker) {
  worker.pause.expires_after(pause_after(worker.failures));
  worker.pause.async_wait([this, self = shared_from_this(), &worker](const auto& error) {
    if (!error) launch(worker, false);
  });
}

void WorkerPool::refuse_waiting(Code code, const std::string& why, Answers& answers) {
  load_.add(Clock::now(), -static_cast<int>(waiting_.size()));
  for (auto& each : waiting_) answers.emplace_back([done = std::move(each.done), code, why] { done(fail(code, why)); });
  waiting_.clear();
}

void WorkerPool::keep_ticking() {
  idle_ticks_ = 0;
  if (std::exchange(ticking_, true)) return;
  asio::post(host_.io(), [this, self = shared_from_this()] { tick(); });
}

void WorkerPool::tick() {
  Answers answers;
  bool again = false;
  {
    const std::lock_guard lock(mutex_);
    check_times(answers);
    const auto works = [](const auto& worker) {
      return worker->stage != Worker::Stage::gone && worker->stage != Worker::Stage::parked &&
             worker->stage != Worker::Stage::idle;
    };
    const bool needed = !waiting_.empty() || std::any_of(workers_.begin(), workers_.end(), works);
    idle_ticks_ = needed ? 0 : idle_ticks_ + 1;
    ticking_ = again = idle_ticks_ < kMostIdleTicks && !(stopping_ && !needed);
  }
  for (const auto& answer : answers) answer();
  if (!again) return;
  ticker_.expires_after(kTick);
  ticker_.async_wait([this, self = shared_from_this()](const auto& error) {
    if (!error) tick();
  });
}

void WorkerPool::check_times(Answers& answers) {
  const auto now = Clock::now();
  const auto& python = *model_.python;
  for (auto& worker : workers_) {
    const bool starts = worker->stage == Worker::Stage::starting || worker->stage == Worker::Stage::parking;
    if (starts && now - worker->since > kStartLimit) end_worker(*worker, "it was not ready within ten minutes");
    if (worker->stage == Worker::Stage::ending && now - worker->since > (worker->wanted ? kEndGrace : kStopGrace))
      end_worker(*worker, worker->why);
    if (worker->stage != Worker::Stage::busy || now - worker->since <= milliseconds(python.request_timeout_ms))
      continue;
    answers.emplace_back([done = std::move(worker->current->done), limit = python.request_timeout_ms] {
      done(fail(Code::timeout, "the request took longer than request_timeout_ms (" + std::to_string(limit) +
                                   " ms), and the worker that computed it was ended"));
    });
    worker->current.reset();
    load_.add(now, -1);
    worker->failures = 0;  // it did what it was asked, if slowly
    end_worker(*worker, "its request took longer than request_timeout_ms (" +
                            std::to_string(python.request_timeout_ms) + " ms)");
  }
  // One that wakes the deployment may wait as long as it may take, and then for its turn.
  const bool wakes = scaler_ && !any_ready();
  const milliseconds turn(python.max_queue_wait_ms);
  const auto limit = wakes ? std::max(turn, milliseconds(python.request_timeout_ms)) : turn;
  while (!waiting_.empty() && now - std::max(waiting_.front().since, awake_since_) > limit) {
    answers.emplace_back([done = std::move(waiting_.front().done), wakes, ms = std::to_string(limit.count())] {
      done(fail(Code::exhausted,
                wakes ? "no worker was ready within request_timeout_ms (" + ms + " ms); ask again, or raise it"
                      : "no worker became free within max_queue_wait_ms (" + ms +
                            " ms); try again later, or raise instance_count"));
    });
    waiting_.pop_front();
    load_.add(now, -1);
  }
}

void WorkerPool::stop() {
  asio::post(host_.io(), [this, self = shared_from_this()] {
    Answers answers;
    {
      const std::lock_guard lock(mutex_);
      if (std::exchange(stopping_, true)) return;
      poller_.cancel();
      refuse_waiting(Code::unavailable, "the deployment is ending", answers);
      for (auto& worker : workers_) {
        worker->pause.cancel();
        if (worker->stage == Worker::Stage::idle)
          worker->channel.finish();
        else
          end_worker(*worker, "the deployment is ending");
      }
      idle_.clear();
    }
    for (const auto& answer : answers) answer();
    // What does not end by itself is ended.
    const auto timer = std::make_shared<asio::steady_timer>(host_.io(), kStopGrace);
    timer->async_wait([this, self, timer](const auto& error) {
      const std::lock_guard lock(mutex_);
      for (auto& worker : workers_)
        if (!error) end_worker(*worker, "it did not end by itself");
    });
  });
}

}  // namespace lathe::infer
