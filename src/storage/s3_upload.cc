#include "storage/s3_upload.h"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <future>
#include <semaphore>

#include "base/file.h"
#include "base/ids.h"
#include "base/log.h"
#include "base/time.h"
#include "storage/s3_xml.h"

namespace lathe::storage {
namespace {

constexpr std::uint64_t kMiB = 1 << 20;
constexpr std::uint64_t kPart = 8 * kMiB;  ///< also the most that goes in one request
constexpr int kMostParts = 10'000;         ///< S3's own limit
constexpr std::size_t kAhead = 2;          ///< parts of one upload that are on their way at once
constexpr std::chrono::hours kStale{24};

/// Parts that are on their way beside the callers' own threads, of all uploads: bounds threads and memory.
std::counting_semaphore<8> parts_ahead{8};

std::uint64_t part_size(std::optional<std::uint64_t> size) {
  if (!size) return kPart;
  const auto least = (*size + kMostParts - 1) / kMostParts;
  return std::max(kPart, (least + kMiB - 1) / kMiB * kMiB);
}

Result<std::string> send_part(S3Client& client, const std::string& key, const std::string& id, int number,
                              const std::string& body, const std::string& doing) {
  const Pairs query{{"partNumber", std::to_string(number)}, {"uploadId", id}};
  LATHE_TRY(const auto answer, client.ask({"PUT", key, query, {}, body}));
  if (!answer.good() || answer.etag.empty()) return fail(client.trouble(doing, answer));
  return answer.etag;
}

class S3Upload final : public http::Sink {
 public:
  S3Upload(S3Client& client, UploadJournal& journal, std::string key, const std::string& path, std::uint64_t part)
      : client_(client), journal_(journal), key_(std::move(key)), doing_("store \"" + path + "\""), part_bytes_(part) {}
  ~S3Upload() override {
    for (auto& [number, sending] : on_their_way_) sending.wait();
    if (!note_.empty()) abort();
  }
  S3Upload(const S3Upload&) = delete;
  S3Upload& operator=(const S3Upload&) = delete;

  Result<void> write(std::string_view piece) override {
    while (!piece.empty()) {
      if (part_.size() == part_bytes_) LATHE_CHECK(pass_on());
      const auto taken = piece.substr(0, part_bytes_ - part_.size());
      part_ += taken;
      piece.remove_prefix(taken.size());
    }
    return {};
  }

  Result<http::Response> finish() override {
    if (note_.empty()) {
      LATHE_TRY(const auto answer, client_.ask({"PUT", key_, {}, {}, part_}));
      if (!answer.good()) return fail(client_.trouble(doing_, answer));
    } else {
      LATHE_CHECK(pass_on());
      LATHE_CHECK(settle(0));
      LATHE_CHECK(complete());
    }
    // S3 is there: now what broke off while it was not can go.
    if (journal_.any_left()) (void)abort_stale_uploads(client_, journal_);
    return http::json_response(json::Object{});
  }

 private:
  Result<void> begin() {
    LATHE_TRY(note_, journal_.add(key_));
    LATHE_TRY(const auto answer,
              client_.ask({.method = "POST", .key = key_, .query = {{"uploads", ""}}, .repeatable = false}));
    if (!answer.good()) return fail(client_.trouble(doing_, answer));
    id_ = element_text(answer.body, "UploadId");
    if (id_.empty())
      return fail(Code::unavailable, fmt::format("cannot {}: {} began no upload", doing_, client_.name()));
    return {};
  }

  /// Sends the part that is full, beside this thread when there is room for that.
  Result<void> pass_on() {
    if (note_.empty()) LATHE_CHECK(begin());
    if (++count_ > kMostParts)
      return fail(Code::invalid, fmt::format("cannot {}: more than {} GiB need their Content-Length said beforehand",
                                             doing_, part_bytes_ * kMostParts >> 30));
    LATHE_CHECK(settle(kAhead - 1));
    const auto send = [this, number = count_](const std::string& body) {
      return send_part(client_, key_, id_, number, body, doing_);
    };
    if (!parts_ahead.try_acquire()) {
      LATHE_CHECK(settle(0));
      LATHE_TRY(auto etag, send(part_));
      etags_.emplace_back(count_, std::move(etag));
      part_.clear();
      return {};
    }
    on_their_way_.emplace_back(count_, std::async(std::launch::async, [send, body = std::exchange(part_, {})] {
                                 auto sent = send(body);
                                 parts_ahead.release();
                                 return sent;
                               }));
    return {};
  }

  /// Waits until at most `most` parts are on their way.
  Result<void> settle(std::size_t most) {
    while (on_their_way_.size() > most) {
      auto [number, sending] = std::move(on_their_way_.front());
      on_their_way_.pop_front();
      LATHE_TRY(auto etag, sending.get());
      etags_.emplace_back(number, std::move(etag));
    }
    return {};
  }

  Result<void> complete() {
    const auto body = completion(etags_);
    LATHE_TRY(const auto answer, client_.ask({"POST", key_, {{"uploadId", id_}}, {}, body}));
    // A first request may have done it and its answer been lost: then the object is there with as many parts.
    const auto refusal = parse_refusal(answer.body);
    const bool done_before = refusal.code == "NoSuchUpload" && there();
    if (!done_before && (!answer.good() || !refusal.code.empty())) return fail(client_.trouble(doing_, answer));
    journal_.remove(std::exchange(note_, {}));
    return {};
  }

  bool there() {
    const auto found = client_.open({.method = "GET", .key = key_, .headers = {{"range", "bytes=0-0"}}});
    return found && (*found)->status() == 206 &&
           (*found)->header("etag").ends_with(fmt::format("-{}\"", etags_.size()));
  }

  void abort() {
    if (!id_.empty()) {
      const auto answer = client_.ask({"DELETE", key_, {{"uploadId", id_}}});
      if (answer && (answer->good() || answer->status == 404)) return journal_.remove(note_);
    }
    journal_.leave(note_);
  }

  S3Client& client_;
  UploadJournal& journal_;
  std::string key_;
  std::string doing_;
  std::uint64_t part_bytes_;
  std::string part_;
  std::string note_;  ///< the journal's, from the first part on
  std::string id_;
  int count_ = 0;
  std::deque<std::pair<int, std::future<Result<std::string>>>> on_their_way_;
  std::vector<std::pair<int, std::string>> etags_;
};

}  // namespace

Result<std::unique_ptr<UploadJournal>> UploadJournal::open(const std::filesystem::path& folder, std::string prefix) {
  LATHE_CHECK(make_folder(folder));
  return std::unique_ptr<UploadJournal>(new UploadJournal(folder, std::move(prefix)));
}

Result<std::string> UploadJournal::add(const std::string& key) {
  const auto note = random_hex(8);
  {
    const std::lock_guard lock(mutex_);
    running_.insert(note);
  }
  LATHE_CHECK(write_file(folder_ / note, key));
  return note;
}

void UploadJournal::remove(const std::string& note) {
  std::error_code ignored;
  std::filesystem::remove(folder_ / note, ignored);
  const std::lock_guard lock(mutex_);
  running_.erase(note);
}

void UploadJournal::leave(const std::string& note) {
  const std::lock_guard lock(mutex_);
  running_.erase(note);
  any_left_ = true;
}

std::vector<UploadJournal::Left> UploadJournal::left() {
  std::vector<Left> out;
  any_left_ = false;
  std::error_code error;
  for (std::filesystem::directory_iterator entry(folder_, error);
       !error && entry != std::filesystem::directory_iterator{}; entry.increment(error)) {
    const auto note = entry->path().filename().string();
    const std::lock_guard lock(mutex_);
    if (running_.contains(note)) continue;
    if (auto key = read_file(entry->path())) out.push_back({note, std::move(*key)});
  }
  return out;
}

Result<void> abort_stale_uploads(S3Client& client, UploadJournal& journal) {
  const auto left = journal.left();
  const auto old = to_iso8601(now() - kStale);
  const auto is_stale = [&](const S3Uploads::Upload& upload) {
    return upload.initiated < old ||
           std::any_of(left.begin(), left.end(), [&](const auto& each) { return each.key == upload.key; });
  };
  const std::string doing = "clear away broken uploads";
  S3Uploads page;
  do {
    Pairs query{{"uploads", ""}, {"prefix", journal.prefix()}, {"encoding-type", "url"}};
    if (!page.next_key.empty())
      query.insert(query.end(), {{"key-marker", page.next_key}, {"upload-id-marker", page.next_id}});
    LATHE_TRY(const auto answer, client.ask({"GET", std::nullopt, query}));
    if (!answer.good()) return fail(client.trouble(doing, answer));
    LATHE_TRY(page, parse_uploads(answer.body));
    for (const auto& upload : page.uploads) {
      if (!is_stale(upload)) continue;
      LATHE_TRY(const auto gone, client.ask({"DELETE", upload.key, {{"uploadId", upload.id}}}));
      if (!gone.good() && gone.status != 404) return fail(client.trouble(doing, gone));
      log::info("aborted a broken upload key={} begun={}", upload.key, upload.initiated);
    }
  } while (!page.next_key.empty());
  for (const auto& each : left) journal.remove(each.note);
  return {};
}

std::unique_ptr<http::Sink> s3_upload(S3Client& client, UploadJournal& journal, std::string key, std::string path,
                                      std::optional<std::uint64_t> size) {
  return std::make_unique<S3Upload>(client, journal, std::move(key), path, part_size(size));
}

}  // namespace lathe::storage
