#pragma once

#include <atomic>
#include <filesystem>
#include <mutex>
#include <set>
#include <string>

#include "storage/s3_client.h"

namespace lathe::storage {

/// Which keys have an upload in parts under way, one file each, so that what a crash or an S3 that went away breaks off
/// can be aborted later. Thread-safe.
class UploadJournal {
 public:
  /// `prefix`: before all our keys, with its '/'; may be empty. Errors: as make_folder.
  static Result<std::unique_ptr<UploadJournal>> open(const std::filesystem::path& folder, std::string prefix);

  const std::string& prefix() const { return prefix_; }

  /// Notes the key, durably, before anything of the upload is in S3; answers the note's name.
  Result<std::string> add(const std::string& key);
  /// The upload is complete or aborted.
  void remove(const std::string& note);
  /// The upload broke off, and S3 still has parts of it.
  void leave(const std::string& note);

  struct Left {
    std::string note;
    std::string key;
  };
  /// What was left, by this server or one before it.
  std::vector<Left> left();
  /// Whether this server left something since `left` was asked.
  bool any_left() const { return any_left_; }

 private:
  UploadJournal(std::filesystem::path folder, std::string prefix)
      : folder_(std::move(folder)), prefix_(std::move(prefix)) {}

  std::filesystem::path folder_;
  std::string prefix_;
  std::atomic<bool> any_left_ = false;
  std::mutex mutex_;
  std::set<std::string> running_;
};

/// Aborts what the journal says was left, and uploads that are older than a day: those of clients that never came back.
/// Errors: `unavailable`.
Result<void> abort_stale_uploads(S3Client& client, UploadJournal& journal);

/// Takes a file for `key`: in one request when it is small, else in parts that are sent while the next one comes.
/// `path` and `size` as for Storage::upload.
std::unique_ptr<http::Sink> s3_upload(S3Client& client, UploadJournal& journal, std::string key, std::string path,
                                      std::optional<std::uint64_t> size);

}  // namespace lathe::storage
