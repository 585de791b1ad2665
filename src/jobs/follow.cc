#include "jobs/follow.h"

#include <atomic>

#include "base/utf8.h"

namespace lathe::jobs {
namespace {

constexpr std::size_t kPiece = std::size_t{128} << 10;

void write_event(std::string& out, std::string_view name, const json::Value& data, std::optional<std::uint64_t> id) {
  out.append("event: ").append(name).append("\n");
  if (id) out.append("id: ").append(std::to_string(*id)).append("\n");
  out.append("data: ").append(json::print(data)).append("\n\n");
}

class Follower : public http::Source {
 public:
  Follower(Followed what, std::uint64_t offset) : what_(std::move(what)), offset_(offset) {}

  void on_wake(std::function<void()> wake) override {
    wake_ = std::move(wake);
    // Shared with the listener: a change may come while this stream goes.
    state_subscription_ = what_.on_change([changed = changed_, wake = wake_] {
      changed->store(true);
      wake();
    });
  }

  Result<Step> read(std::string& out) override {
    if (changed_->exchange(false)) LATHE_CHECK(see_state(out));
    LATHE_TRY(const bool more, read_output(out));
    if (more) return Step::more;
    if (!ended_) return changed_->load() ? Step::more : Step::wait;
    write_event(out, "end", shown_, offset_);
    return Step::end;
  }

 private:
  Result<void> see_state(std::string& out) {
    LATHE_TRY(auto glance, what_.look());
    if (!folder_.empty() && folder_ != glance.log_folder) {  // the job was started again, with a log of its own
      for (bool more = true; more;) {
        LATHE_TRY(more, read_output(out));
      }
      pending_.clear();
      offset_ = 0;
      watching_ = false;
    }
    ended_ = glance.ended;
    folder_ = std::move(glance.log_folder);
    if (glance.job != shown_) {
      shown_ = std::move(glance.job);
      write_event(out, "state", shown_, std::nullopt);
    }
    if (!watching_ && !ended_ && !folder_.empty()) {
      // A folder that is not there yet comes with the next change of state.
      if (auto watched = what_.log_watch->subscribe(folder_, wake_)) {
        log_subscription_ = std::move(*watched);
        watching_ = true;
      }
    }
    return {};
  }

  /// Whether there may be more at once.
  Result<bool> read_output(std::string& out) {
    if (folder_.empty()) return false;
    const auto read_at = offset_ + pending_.size();
    auto piece = process::read_log(folder_, read_at, kPiece);
    if (!piece && piece.error().code == Code::not_found) return false;
    if (!piece) return fail(piece.error());
    std::string text;
    if (piece->dropped > 0) {
      text = take_utf8(pending_, true) + process::dropped_note(piece->dropped);
      offset_ = piece->begin;
    }
    const bool at_end = piece->bytes.empty();
    pending_ += piece->bytes;
    text += take_utf8(pending_, at_end && ended_);
    const auto next = piece->next - pending_.size();
    if (!text.empty()) {
      json::Object data;
      data["offset"] = offset_;
      data["text"] = std::move(text);
      data["next"] = next;
      write_event(out, "log", std::move(data), next);
    }
    offset_ = next;
    return !at_end;
  }

  Followed what_;
  std::uint64_t offset_;  ///< what was sent goes up to here
  std::string pending_;   ///< read, but the rest of its last character is not there yet
  std::function<void()> wake_ = [] {};
  std::shared_ptr<std::atomic<bool>> changed_ = std::make_shared<std::atomic<bool>>(true);
  bool ended_ = false;
  bool watching_ = false;
  json::Value shown_;
  std::filesystem::path folder_;
  std::shared_ptr<void> state_subscription_;
  process::LogWatch::Subscription log_subscription_;
};

class LogSoFar : public http::Source {
 public:
  LogSoFar(std::filesystem::path folder, std::uint64_t offset) : folder_(std::move(folder)), offset_(offset) {}

  Result<Step> read(std::string& out) override {
    auto piece = process::read_log(folder_, offset_, kPiece);
    if (!piece && piece.error().code == Code::not_found) return Step::end;
    if (!piece) return fail(piece.error());
    if (piece->dropped > 0) out += process::dropped_note(piece->dropped);
    out += piece->bytes;
    offset_ = piece->next;
    return piece->bytes.empty() ? Step::end : Step::more;
  }

 private:
  std::filesystem::path folder_;
  std::uint64_t offset_;
};

}  // namespace

std::unique_ptr<http::Source> follow(Followed what, std::uint64_t offset) {
  return std::make_unique<Follower>(std::move(what), offset);
}

std::unique_ptr<http::Source> log_so_far(std::filesystem::path folder, std::uint64_t offset) {
  return std::make_unique<LogSoFar>(std::move(folder), offset);
}

}  // namespace lathe::jobs
