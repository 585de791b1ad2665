#include "remote/attempt.h"

#include <dirent.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>

#include "remote/environment.h"
#include "remote/files.h"
#include "shim/log.h"
#include "shim/supervisor.h"
#include "shim/text.h"

extern char** environ;

namespace lathe::remote {
namespace {

constexpr std::int64_t kLook = 100;    // ms between looks at the log
constexpr std::int64_t kGather = 200;  // ms between looks for the other nodes
constexpr std::int64_t kLongestGather = 2000;
constexpr int kPorts = 32;                      // that are offered to the job
constexpr std::int64_t kLongestPause = 15'000;  // ms between tries while the server is away
constexpr std::size_t kLogPiece = std::size_t{256} << 10;
constexpr int kPiecesPerLook = 16;  // of the logs, of a job that runs
constexpr int kFetchTries = 3;      // of a file that arrives damaged

/// What of our own environment the job needs: Slurm's, and which devices it gave us.
constexpr const char* kPassedOn[] = {"SLURM_",
                                     "SLURMD_",
                                     "SRUN_",
                                     "PMI",
                                     "CUDA_VISIBLE_DEVICES=",
                                     "GPU_DEVICE_ORDINAL=",
                                     "ROCR_VISIBLE_DEVICES=",
                                     "ZE_AFFINITY_MASK=",
                                     "MUNGE_"};

std::string random_hex() {
  unsigned char bytes[12] = {};
  if (::getrandom(bytes, sizeof bytes, 0) != static_cast<ssize_t>(sizeof bytes)) std::abort();
  std::string out;
  for (const auto byte : bytes) {
    char text[3];
    std::snprintf(text, sizeof text, "%02x", byte);
    out += text;
  }
  return out;
}

void say(const std::string& text) {
  std::fprintf(stderr, "lathe-remote: %s\n", text.c_str());
}

/// Ports that nobody listens on now, with commas between. The kernel gives such a port out again only after all others.
std::string free_ports() {
  std::string out;
  int held[kPorts];
  for (int& fd : held) {
    fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in at{};
    at.sin_family = AF_INET;
    socklen_t size = sizeof at;
    if (::bind(fd, reinterpret_cast<sockaddr*>(&at), size) == 0 &&
        ::getsockname(fd, reinterpret_cast<sockaddr*>(&at), &size) == 0)
      out += (out.empty() ? "" : ",") + std::to_string(ntohs(at.sin_port));
  }
  for (const int fd : held) ::close(fd);
  return out;
}

/// Removes what attempts left here that were killed before they could do it themselves: nobody holds their lock.
void clear_stale(const std::string& base) {
  DIR* list = ::opendir(base.c_str());
  while (const dirent* entry = list == nullptr ? nullptr : ::readdir(list)) {
    if (entry->d_name[0] == '.') continue;
    const auto folder = base + "/" + entry->d_name;
    const int lock = take_lock(folder + "/lock", 0);
    if (lock < 0) continue;
    remove_tree(folder);
    ::close(lock);
  }
  if (list != nullptr) ::closedir(list);
}

}  // namespace

volatile int terminated = 0;

std::int64_t number_in(const std::string& text, const std::string& key, std::int64_t otherwise) {
  const auto at = ("\n" + text).find("\n" + key + "=");
  return at == std::string::npos ? otherwise : std::atoll(text.c_str() + at + key.size() + 1);
}

Attempt::Attempt(Setting setting)
    : setting_(std::move(setting)),
      server_(setting_.server),
      instance_(random_hex()),
      // The same on all nodes, as mpirun needs it.
      folder_(setting_.base + setting_.server.path.substr(setting_.server.path.rfind('/'))) {}

int Attempt::run() {
  clear_stale(setting_.base);
  if (!claim()) return 1;
  if (prepare() && start()) watch();
  if (!gone_) {
    drain_logs(true);
    if (ends()) send_checkpoint();  // another attempt may follow
    upload_outputs();
    tell_end();
  }
  const auto record = exit_record();
  remove_tree(folder_);
  const auto code = record.find("\"code\":");
  if (code != std::string::npos) return std::atoi(record.c_str() + code + 7);
  return record.find("\"signal\":") != std::string::npos ? 1 : failure_.empty() ? 0 : 1;
}

void Attempt::pause(std::int64_t ms) {
  const timespec time{ms / 1000, ms % 1000 * 1'000'000};
  ::nanosleep(&time, nullptr);
}

bool Attempt::claim() {
  const auto path = "/claim?version=1&node=" + std::to_string(setting_.node) + "&instance=" + instance_ +
                    "&host=" + encoded(setting_.host) + "&nodes=" + std::to_string(setting_.nodes) +
                    "&folder=" + encoded(folder_);
  for (std::int64_t wait = 500;; wait = std::min(wait * 2, kLongestPause)) {
    const auto answer = server_.request("POST", path + here());
    if (answer.status == 202) {  // not all nodes are there yet
      if (terminated != 0) return false;
      pause(kGather);
      wait = 500;
      continue;
    }
    if (answer.ok()) {
      std::string error;
      if (read_manifest(answer.body, manifest_, error)) return true;
      say(error);
      return false;
    }
    if (!answer.away()) {
      say("this attempt is not to be run: " + answer.body);
      return false;
    }
    say("the server is away: " + answer.body);
    if (terminated != 0) return false;
    pause(wait);
  }
}

/// By which address and on which ports the other nodes reach this one.
std::string Attempt::here() {
  const auto address = server_.local_address();
  std::string interface;
  ifaddrs* all = nullptr;
  if (::getifaddrs(&all) == 0) {
    for (const ifaddrs* one = all; one != nullptr; one = one->ifa_next)
      if (one->ifa_addr != nullptr && text_of(*one->ifa_addr) == address) interface = one->ifa_name;
    ::freeifaddrs(all);
  }
  if (ports_.empty()) ports_ = free_ports();
  return "&address=" + encoded(address) + "&interface=" + encoded(interface) + "&ports=" + ports_;
}

bool Attempt::prepare() {
  if (::mkdir(folder_.c_str(), 0700) != 0) {
    failure_ = because("cannot make " + folder_ + " on " + setting_.host);
    return false;
  }
  lock_ = take_lock(folder_ + "/lock", O_CREAT);
  if (lock_ < 0) {
    failure_ = because("cannot lock " + folder_ + " on " + setting_.host);
    return false;
  }
  if (!fetch_all()) return false;
  for (const auto& link : manifest_.links) {
    if (make_parents(folder_, link.path) && ::symlink(link.target.c_str(), (folder_ + "/" + link.path).c_str()) == 0)
      continue;
    failure_ = because("cannot link " + link.path + " on " + setting_.host);
    return false;
  }
  logs_.emplace_back(folder_);
  return make_environment() && wait_for_others();
}

bool Attempt::fetch_all() {
  for (const auto& path : manifest_.folders) {
    if (make_parents(folder_, path + "/")) continue;
    failure_ = because("cannot make " + path + " on " + setting_.host);
    return false;
  }
  for (const auto& wanted : manifest_.files) {
    std::int64_t wait = 250;
    for (int tries = 1;; wait = std::min(wait * 2, kLongestPause)) {
      beat();
      if (ends()) return false;
      std::string error;
      const auto answer = fetch(server_, folder_, wanted, error);
      if (answer.ok() && error.empty()) break;
      if (answer.away() && error.empty()) {
        pause(wait);
        continue;
      }
      if (answer.ok() && tries++ < kFetchTries && !error.empty()) continue;
      failure_ = setting_.host +
                 " could not fetch what the job needs: " + (error.empty() ? wanted.path + ": " + answer.body : error);
      return false;
    }
  }
  return true;
}

/// Unless it is there. The build's log is the beginning of the job's.
bool Attempt::make_environment() {
  if (manifest_.environment.folder.empty()) return true;
  Environment environment(manifest_.environment, instance_);
  const auto fail = [&](const std::string& why) {
    failure_ = "the job's environment cannot be made on " + setting_.host + ": " + why;
    return false;
  };
  for (auto turn = Environment::Turn::others; turn != Environment::Turn::ours;) {
    if (environment.ready()) return true;
    turn = environment.take_turn();
    if (turn == Environment::Turn::never) return fail(environment.error);
    if (turn == Environment::Turn::others) pause(kLook);
    beat();
    if (ends()) return false;
  }
  if (environment.ready()) return true;
  const auto spec = environment.begin(folder_ + "/shared/python/lathe_environments/build.py");
  if (spec.empty()) return fail(environment.error);
  if (!run_shim(spec)) return false;
  watch();
  shim_ = 0;
  std::string record;
  read_file(folder_ + "/exit.json", record);
  ::unlink((folder_ + "/exit.json").c_str());  // not the job's
  drain_logs(true);
  if (ends() || !put_log_aside()) return false;
  if (record.find("\"reason\":\"exited\"") == std::string::npos || record.find("\"code\":0,") == std::string::npos)
    return fail(environment.said().empty() ? "its build broke off: " + record : environment.said());
  return environment.publish() || fail(environment.error);
}

/// The next shim's log goes on where this one ends.
bool Attempt::put_log_aside() {
  const auto log = folder_ + "/log";
  const auto part = shim::newest_part(folder_.c_str());
  std::string text;
  int aside = -1;
  bool done = false;
  if (part < 0) {
    done = ::rename(log.c_str(), (log + ".0").c_str()) == 0;
  } else if (read_file(log, text)) {
    aside = ::open((log + "." + std::to_string(part)).c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
    done = aside >= 0 && shim::write_all(aside, text.data(), text.size()) && ::unlink(log.c_str()) == 0;
  }
  if (!done) failure_ = because("cannot write to " + folder_ + " on " + setting_.host);
  if (aside >= 0) ::close(aside);
  return done;
}

/// All nodes start, or none.
bool Attempt::wait_for_others() {
  state_ = "ready";
  for (std::int64_t wait = kGather;; wait = std::min(wait + kGather / 4, kLongestGather)) {
    report();
    if (ends()) return false;
    if (may_start_) return true;
    pause(std::max(retry_ms_, wait));
  }
}

bool Attempt::start() {
  auto spec = manifest_.spec;
  const std::string end("end=\0", 5);
  if (spec.size() >= end.size() && spec.compare(spec.size() - end.size(), end.size(), end) == 0)
    spec.resize(spec.size() - end.size());
  for (char** variable = environ; *variable != nullptr; ++variable)
    for (const char* begin : kPassedOn)
      if (std::strncmp(*variable, begin, std::strlen(begin)) == 0) spec += std::string("env=") + *variable + '\0';
  spec += end;
  // Each rank of the spec has a log of its own, as lathe-shim lays them out.
  std::size_t ranks = 0;
  for (auto at = spec.find("rank="); at != std::string::npos; at = spec.find("rank=", at + 1))
    ranks += at == 0 || spec[at - 1] == '\0' ? 1 : 0;
  for (std::size_t rank = 1; rank < ranks; ++rank) logs_.emplace_back(folder_ + "/rank-" + std::to_string(rank));
  if (!manifest_.checkpoint.empty()) {
    checkpoint_ = Checkpoint(folder_ + "/" + manifest_.checkpoint);
    checkpoint_.begin();
  }
  if (!run_shim(spec)) return false;
  state_ = "running";
  report();
  return true;
}

/// Starts what the spec says, under supervision, in the attempt's folder.
bool Attempt::run_shim(const std::string& spec) {
  if (!write_file(folder_ + "/spec", spec)) {
    failure_ = because("cannot write to " + folder_ + " on " + setting_.host);
    return false;
  }
  const int parent = ::getpid();
  shim_ = ::fork();
  if (shim_ < 0) failure_ = because("cannot fork on " + setting_.host);
  if (shim_ != 0) return shim_ > 0;
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);  // a job that nobody reports must not run on
  if (::getppid() != parent) ::_exit(1);
  ::setsid();
  ::_exit(shim::run(folder_.c_str(), -1, lock_, -1));
}

/// Until what `run_shim` started has ended.
void Attempt::watch() {
  bool asked = false;
  for (;;) {
    int status = 0;
    const auto ended = ::waitpid(shim_, &status, WNOHANG);
    if (ended == shim_ || (ended < 0 && errno == ECHILD)) return;
    drain_logs(false);
    if (terminated == 1) {
      terminated = 2;  // told once; the shim has its own SIGTERM, or gets ours below
      report();
    }
    beat();
    if (!asked && ends()) {
      ask_shim_to_stop(gone_ ? 2000 : stop_ms_);
      asked = true;
    }
    if (!keep_checkpoint()) pause(kLook);
  }
}

void Attempt::ask_shim_to_stop(std::int64_t grace_ms) {
  if (grace_ms >= 0) write_file(folder_ + "/stop", std::to_string(grace_ms));
  ::kill(shim_, SIGTERM);
}

/// Whether nothing more is to be begun.
bool Attempt::ends() const {
  return gone_ || stop_ms_ >= 0 || terminated != 0;
}

/// A report, when it is time for one.
void Attempt::beat() {
  if (shim::monotonic_ms() >= next_beat_ms_) report();
}

Answer Attempt::report(std::size_t log) {
  LogSent none;
  auto& sent = log < logs_.size() ? logs_[log] : none;
  const auto path = "/nodes/" + std::to_string(setting_.node) + "/report?instance=" + instance_ + "&state=" + state_ +
                    "&log=" + std::to_string(log) + "&offset=" + std::to_string(sent.sent);
  const auto answer = server_.request("POST", path, sent.unsent);
  next_beat_ms_ = shim::monotonic_ms() + manifest_.beat_ms;
  take_wish(answer);
  note_absence(answer);
  if (!answer.ok()) {
    if (answer.away() || gone_ || sent.unsent.empty()) return answer;
    say("the server takes no more of log " + std::to_string(log) + ": " + answer.body);
    sent.refused = true;
    sent.unsent.clear();
    return answer;
  }
  const auto have = static_cast<std::uint64_t>(number_in(answer.body, "log", static_cast<std::int64_t>(sent.sent)));
  if (have < sent.sent) {  // the server's machine broke down, and lost what it had
    sent.tail.go_back(sent.sent - have + sent.unsent.size());
    sent.unsent.clear();
  } else {
    sent.unsent.erase(0, have - sent.sent);
  }
  sent.sent = have;
  return answer;
}

/// When the server is to be asked again.
void Attempt::note_absence(const Answer& answer) {
  retry_ms_ = answer.away() ? std::min(std::max<std::int64_t>(retry_ms_ * 2, 250), kLongestPause) : 0;
  retry_at_ms_ = shim::monotonic_ms() + retry_ms_;
}

void Attempt::take_wish(const Answer& answer) {
  if (answer.status == 401 || answer.status == 404 || answer.status == 409) {
    say("another attempt took this one's place: " + answer.body);
    gone_ = true;
  }
  if (!answer.ok()) return;
  if (number_in(answer.body, "start", 0) == 1) may_start_ = true;
  if (const auto grace = number_in(answer.body, "stop", -1); grace >= 0) stop_ms_ = grace;
}

/// Sends what is new in the logs, a piece of each in turn. `all`: until everything is with the server, however long
/// that takes; else a few pieces, and none while the server is away: the shim keeps the logs.
void Attempt::drain_logs(bool all) {
  int pieces = 0;
  for (std::size_t quiet = 0; quiet < logs_.size() && !gone_;) {
    if (!all && (pieces == kPiecesPerLook || shim::monotonic_ms() < retry_at_ms_)) return;
    const auto turn = next_log_;
    auto& log = logs_[turn];
    next_log_ = (turn + 1) % logs_.size();
    if (log.unsent.empty() && !log.refused) log.unsent = log.tail.read(kLogPiece);
    if (log.unsent.empty()) {
      ++quiet;
      continue;
    }
    quiet = 0;
    ++pieces;
    const auto before = log.sent;
    const auto answer = report(turn);
    if (all && (answer.away() || (answer.ok() && log.sent <= before))) pause(std::max(retry_ms_, kLook));
  }
}

std::string Attempt::exit_record() const {
  std::string text;
  if (shim_ > 0 && read_file(folder_ + "/exit.json", text)) return text;
  shim::Text out;
  const bool stopped = failure_.empty();
  out.add("{\"version\":1,\"reason\":").add_json(stopped ? "stopped" : "start_failed");
  if (!stopped) out.add(",\"error\":").add_json(failure_.c_str());
  out.add(",\"started_us\":").add(shim::wall_us()).add(",\"ended_us\":").add(shim::wall_us()).add("}\n");
  return out.data;
}

void Attempt::tell_end() {
  const auto record = exit_record();
  auto path = "/nodes/" + std::to_string(setting_.node) + "/end?instance=" + instance_;
  if (shim_ > 0 && !failure_.empty()) path += "&problem=" + encoded(failure_);
  for (std::int64_t wait = 250;; wait = std::min(wait * 2, kLongestPause)) {
    const auto answer = server_.request("POST", path, record);
    if (!answer.ok() && answer.away()) {
      pause(wait);
      continue;
    }
    if (!answer.ok()) say("the server did not take the end of the job: " + answer.body);
    return;
  }
}

}  // namespace lathe::remote
