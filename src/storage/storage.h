#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "http/http.h"

/// Artifact bytes: in a folder of this machine, or in an S3 bucket. Both behave alike to their callers.
namespace lathe::storage {

struct Entry {
  std::string name;  ///< the last part of its path
  bool folder = false;
  std::uint64_t size = 0;
};

struct File {
  std::string path;  ///< below the folder that was asked for
  std::uint64_t size = 0;
};

/// Refuses what no honest client sends as the path of an artifact: "..", absolute and drive paths, '#', backslashes and
/// control characters, also behind any number of percent-encodings. Errors: `invalid`.
Result<void> check_path(std::string_view path);

/// What clients do with the artifacts' place by themselves, with addresses that are signed for them. Whoever has such
/// an address may use it until it expires. Thread-safe; blocks.
class Direct {
 public:
  virtual ~Direct() = default;

  /// Begins an upload in `parts` parts; the answer names it and gives the address to PUT each part to, in order.
  /// Nothing is to be seen of it before `complete`. Errors: `invalid` — a bad path; `unavailable`.
  struct Begun {
    std::string upload_id;
    std::vector<std::string> urls;
  };
  virtual Result<Begun> begin(const std::string& path, int parts) = 0;

  struct Part {
    int number = 0;
    std::string etag;  ///< as the PUT of the part answered it
  };
  /// Errors: `invalid` — parts that were not sent, or an upload that is not known; `unavailable`.
  virtual Result<void> complete(const std::string& path, const std::string& upload_id,
                                const std::vector<Part>& parts) = 0;
  virtual Result<void> abort(const std::string& path, const std::string& upload_id) = 0;

  struct Download {
    std::string url;
    std::uint64_t size = 0;
  };
  /// Errors: `not_found`; `invalid` — a bad path; `unavailable`.
  virtual Result<Download> download_url(const std::string& path, std::chrono::seconds lives) = 0;
  /// The address to PUT a whole file to. Errors: `invalid` — a bad path.
  virtual Result<std::string> upload_url(const std::string& path, std::chrono::seconds lives) = 0;
};

/// A place of artifacts, addressed by relative paths. Thread-safe; all functions block, on a disk or on another
/// machine. Errors of all: `invalid` — a bad path; `unavailable` — the other machine is away or refuses us.
class Storage {
 public:
  virtual ~Storage() = default;

  /// Takes a file's bytes. It appears, whole and durable, when the sink's `finish` has answered `{}`; without that
  /// nothing stays behind. `size`: what will come, when that is known. Errors: `exhausted` — the disk is full.
  virtual Result<std::unique_ptr<http::Sink>> upload(const std::string& path,
                                                     std::optional<std::uint64_t> size = std::nullopt) = 0;

  /// The file as an attachment, or the part of it that a Range header ("bytes=0-99") names. Errors: `not_found`.
  virtual Result<http::Response> download(const std::string& path, std::optional<std::string_view> range) = 0;

  /// What a folder holds, by name. A file or nothing at all gives an empty list.
  virtual Result<std::vector<Entry>> list(const std::string& path) = 0;

  /// All files below a folder, by path, at any depth. A file or nothing at all gives an empty list.
  virtual Result<std::vector<File>> files(const std::string& path) = 0;

  /// A file, or a folder with all it holds. Errors: `not_found`.
  virtual Result<void> remove(const std::string& path) = 0;

  /// Where the paths lie on this machine; nullopt: elsewhere.
  virtual std::optional<std::filesystem::path> folder() const { return std::nullopt; }

  /// Null where clients cannot reach the place themselves.
  virtual Direct* direct() { return nullptr; }

  /// Ends what waits for another machine, now and later, with `unavailable`: the server stops.
  virtual void interrupt() {}
};

/// A folder of artifacts. Makes it when there is none, and clears away uploads that a crash broke off. Whatever a path
/// holds, nothing outside the folder is touched.
Result<std::unique_ptr<Storage>> open_folder(const std::filesystem::path& folder);

/// The same for reading, beside the server that has it: nothing is made and nothing cleared away.
std::unique_ptr<Storage> look_into_folder(const std::filesystem::path& folder);

struct S3Place {
  std::string bucket;
  std::string prefix;    ///< before all keys, without slashes at its ends; may be empty
  std::string endpoint;  ///< "https://host:port"; empty: as AWS's environment and profile say, else AWS itself
  std::string region;    ///< empty: as AWS's environment and profile say, else us-east-1
  /// The bucket goes into the path, not into the host's name; unset: where an endpoint is given.
  std::optional<bool> path_style;
  std::filesystem::path journal;  ///< a folder of ours: which uploads are under way
};

/// "s3://BUCKET/PREFIX". Errors: `invalid`.
Result<S3Place> parse_s3(const std::string& text);

/// A bucket, with the credentials that AWS's environment variables or profile files name. Asks the bucket once, and
/// clears away uploads that a crash broke off; when S3 is away that is logged, and later calls may find it.
/// Errors: `invalid` — what S3 refuses: the bucket, the credentials, the clock.
Result<std::unique_ptr<Storage>> open_s3(S3Place place, const char* (*environment)(const char*));

}  // namespace lathe::storage
