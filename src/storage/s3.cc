#include <fmt/format.h>
#include <openssl/evp.h>

#include <algorithm>
#include <array>

#include "base/digest.h"
#include "base/log.h"
#include "base/text.h"
#include "http/file_response.h"
#include "storage/path.h"
#include "storage/s3_client.h"
#include "storage/s3_upload.h"
#include "storage/s3_xml.h"
#include "storage/storage.h"

namespace lathe::storage {
namespace {

constexpr std::size_t kMostKey = 1024;        ///< bytes, S3's own limit
constexpr std::size_t kMostDeletions = 1000;  ///< in one request, likewise
constexpr int kMostBreaks = 3;                ///< without a byte between them
constexpr std::chrono::hours kPartLives{1};

std::string shown(std::string_view path) {
  return "\"" + printable(path) + "\"";
}

std::uint64_t number(const std::string& text) {
  std::uint64_t out = 0;
  for (const char c : text)
    if (c >= '0' && c <= '9') out = out * 10 + static_cast<std::uint64_t>(c - '0');
  return out;
}

/// The digest that a bulk deletion has to carry, as S3's API wants it.
std::string md5_base64(std::string_view bytes) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int size = 0;
  EVP_Digest(bytes.data(), bytes.size(), digest.data(), &size, EVP_md5(), nullptr);
  return base64_encode({reinterpret_cast<const char*>(digest.data()), size});
}

/// An object, or a part of it, as it comes. A connection that breaks is made again for what is still missing.
class S3Source final : public http::Source {
 public:
  S3Source(S3Client& client, std::string key, std::unique_ptr<Exchange> exchange, std::uint64_t begin)
      : client_(client),
        key_(std::move(key)),
        exchange_(std::move(exchange)),
        etag_(exchange_->header("etag")),
        begin_(begin),
        length_(number(exchange_->header("content-length"))) {}

  Result<Step> read(std::string& out) override {
    for (;;) {
      const auto before = out.size();
      const auto more = exchange_->read(out);
      got_ += out.size() - before;
      if (out.size() > before) breaks_ = 0;
      if (got_ >= length_) return Step::end;
      if (out.size() > before) return Step::more;
      if (more && *more) continue;
      const auto why = more ? "the answer was too short" : more.error().message;
      if (++breaks_ > kMostBreaks)
        return fail(Code::unavailable, fmt::format("{} broke off {}: {}", client_.name(), shown(key_), why));
      LATHE_CHECK(resume());
    }
  }

  std::optional<std::uint64_t> length() const override { return length_; }

 private:
  Result<void> resume() {
    const auto range = fmt::format("bytes={}-{}", begin_ + got_, begin_ + length_ - 1);
    exchange_.reset();
    LATHE_TRY(exchange_,
              client_.open({.method = "GET", .key = key_, .headers = {{"if-match", etag_}, {"range", range}}}));
    if (exchange_->status() == 206) return {};
    return fail(Code::unavailable, fmt::format("{} changed while it was read", shown(key_)));
  }

  S3Client& client_;
  std::string key_;
  std::unique_ptr<Exchange> exchange_;
  std::string etag_;
  std::uint64_t begin_;  ///< of the part in the object
  std::uint64_t length_;
  std::uint64_t got_ = 0;
  int breaks_ = 0;
};

class S3Storage final : public Storage, public Direct {
 public:
  S3Storage(std::unique_ptr<S3Client> client, std::unique_ptr<UploadJournal> journal)
      : client_(std::move(client)), journal_(std::move(journal)) {}

  Result<std::unique_ptr<http::Sink>> upload(const std::string& path, std::optional<std::uint64_t> size) override {
    LATHE_TRY(auto key, file_key(path));
    return s3_upload(*client_, *journal_, std::move(key), path, size);
  }
  Result<http::Response> download(const std::string& path, std::optional<std::string_view> range) override;
  Result<std::vector<Entry>> list(const std::string& path) override;
  Result<std::vector<File>> files(const std::string& path) override;
  Result<void> remove(const std::string& path) override;
  Direct* direct() override { return this; }
  void interrupt() override { client_->interrupt(); }

  Result<Begun> begin(const std::string& path, int parts) override;
  Result<void> complete(const std::string& path, const std::string& upload_id, const std::vector<Part>& parts) override;
  Result<void> abort(const std::string& path, const std::string& upload_id) override;
  Result<Download> download_url(const std::string& path, std::chrono::seconds lives) override;
  Result<std::string> upload_url(const std::string& path, std::chrono::seconds lives) override;

 private:
  /// The key of a file. Errors: `invalid`.
  Result<std::string> file_key(const std::string& path) const {
    LATHE_CHECK(check_path(path));
    const auto clean = tidy(path);
    if (clean.empty() || path.ends_with('/') || journal_->prefix().size() + clean.size() > kMostKey)
      return fail(bad_path(path));
    return journal_->prefix() + clean;
  }
  /// What the keys of a folder's files begin with. Errors: `invalid`.
  Result<std::string> folder_key(const std::string& path) const {
    LATHE_CHECK(check_path(path));
    const auto clean = tidy(path);
    return journal_->prefix() + clean + (clean.empty() ? "" : "/");
  }
  Result<S3Listing> page(const std::string& doing, Pairs query, const std::string& token);
  Result<std::optional<S3Object>> find(const std::string& key, const std::string& path);
  Result<void> remove_all(const std::string& path, const std::vector<S3Object>& objects);

  std::unique_ptr<S3Client> client_;
  std::unique_ptr<UploadJournal> journal_;
};

Result<S3Listing> S3Storage::page(const std::string& doing, Pairs query, const std::string& token) {
  query.insert(query.end(), {{"list-type", "2"}, {"encoding-type", "url"}});
  if (!token.empty()) query.emplace_back("continuation-token", token);
  LATHE_TRY(const auto answer, client_->ask({"GET", std::nullopt, std::move(query)}));
  if (!answer.good()) return fail(client_->trouble(doing, answer));
  return parse_listing(answer.body);
}

/// Listings answer with words where a HEAD's refusal has none.
Result<std::optional<S3Object>> S3Storage::find(const std::string& key, const std::string& path) {
  LATHE_TRY(const auto found, page("find " + shown(path), {{"prefix", key}, {"max-keys", "1"}}, ""));
  if (found.objects.empty() || found.objects[0].key != key) return std::nullopt;
  return found.objects[0];
}

Result<http::Response> S3Storage::download(const std::string& path, std::optional<std::string_view> range) {
  LATHE_CHECK(check_path(path));
  if (tidy(path).empty()) return fail(no_such(path));
  const auto key = journal_->prefix() + tidy(path);
  auto response = http::attachment_response(split_last(tidy(path)).second);
  S3Request request{.method = "GET", .key = key};
  if (range && http::is_single_range(*range)) request.headers.emplace_back("range", *range);
  LATHE_TRY(auto exchange, client_->open(request));
  response.status = exchange->status();
  if (response.status == 416) {
    LATHE_TRY(const auto whole, find(key, path));
    response.headers.emplace_back("Content-Range", fmt::format("bytes */{}", whole ? whole->size : 0));
    return response;
  }
  if (response.status != 200 && response.status != 206) {
    S3Answer answer{response.status, {}, {}};
    for (;;) {
      LATHE_TRY(const bool more, exchange->read(answer.body));
      if (!more) break;
    }
    auto error = client_->trouble("read " + shown(path), answer);
    return fail(error.code == Code::not_found ? no_such(path) : std::move(error));
  }
  std::uint64_t begin = 0;
  if (response.status == 206) {
    const auto content_range = exchange->header("content-range");  // "bytes 1-3/5"
    begin = number(content_range.substr(0, content_range.find('-')));
    response.headers.emplace_back("Content-Range", content_range);
  }
  response.source = std::make_unique<S3Source>(*client_, key, std::move(exchange), begin);
  return response;
}

Result<std::vector<Entry>> S3Storage::list(const std::string& path) {
  LATHE_TRY(const auto folder, folder_key(path));
  std::vector<Entry> out;
  std::string token;
  do {
    LATHE_TRY(const auto found, page("list " + shown(path), {{"prefix", folder}, {"delimiter", "/"}}, token));
    for (const auto& each : found.folders) {
      if (!each.starts_with(folder) || each.size() <= folder.size() + 1) continue;
      out.push_back({each.substr(folder.size(), each.size() - folder.size() - 1), true, 0});
    }
    // A key that ends with '/' stands for a folder that some tool made.
    for (const auto& each : found.objects)
      if (each.key.starts_with(folder) && !each.key.ends_with('/'))
        out.push_back({each.key.substr(folder.size()), false, each.size});
    token = found.next;
  } while (!token.empty());
  std::sort(out.begin(), out.end(), [](const Entry& a, const Entry& b) { return a.name < b.name; });
  return out;
}

Result<std::vector<File>> S3Storage::files(const std::string& path) {
  LATHE_TRY(const auto folder, folder_key(path));
  std::vector<File> out;
  std::string token;
  do {
    LATHE_TRY(const auto found, page("list " + shown(path), {{"prefix", folder}}, token));
    for (const auto& each : found.objects)
      if (each.key.starts_with(folder) && !each.key.ends_with('/'))
        out.push_back({each.key.substr(folder.size()), each.size});
    token = found.next;
  } while (!token.empty());
  std::sort(out.begin(), out.end(), [](const File& a, const File& b) { return a.path < b.path; });
  return out;
}

Result<void> S3Storage::remove_all(const std::string& path, const std::vector<S3Object>& objects) {
  std::vector<std::string> keys;
  for (const auto& object : objects) keys.push_back(object.key);
  const auto body = deletion(keys);
  const S3Request request{"POST", std::nullopt, {{"delete", ""}}, {{"content-md5", md5_base64(body)}}, body};
  LATHE_TRY(const auto answer, client_->ask(request));
  if (!answer.good()) return fail(client_->trouble("remove " + shown(path), answer));
  if (const auto failed = failed_deletion(answer.body); !failed.empty())
    return fail(Code::unavailable,
                fmt::format("cannot remove {}: {} says {}", shown(path), client_->name(), printable(failed)));
  return {};
}

Result<void> S3Storage::remove(const std::string& path) {
  LATHE_CHECK(check_path(path));
  if (tidy(path).empty()) return fail(bad_path(path));
  const auto key = journal_->prefix() + tidy(path);
  LATHE_TRY(const auto file, find(key, path));
  bool any = file.has_value();
  if (file) {
    LATHE_TRY(const auto answer, client_->ask({"DELETE", key}));
    if (!answer.good() && answer.status != 404) return fail(client_->trouble("remove " + shown(path), answer));
  }
  // From the front each time: what was removed is not listed again.
  for (;;) {
    LATHE_TRY(const auto found,
              page("remove " + shown(path), {{"prefix", key + "/"}, {"max-keys", std::to_string(kMostDeletions)}}, ""));
    if (found.objects.empty()) break;
    any = true;
    LATHE_CHECK(remove_all(path, found.objects));
  }
  if (!any) return fail(no_such(path));
  return {};
}

Result<Direct::Begun> S3Storage::begin(const std::string& path, int parts) {
  LATHE_TRY(const auto key, file_key(path));
  LATHE_TRY(const auto answer,
            client_->ask({.method = "POST", .key = key, .query = {{"uploads", ""}}, .repeatable = false}));
  if (!answer.good()) return fail(client_->trouble("begin an upload of " + shown(path), answer));
  Begun out{element_text(answer.body, "UploadId"), {}};
  if (out.upload_id.empty()) return fail(Code::unavailable, client_->name() + " began no upload");
  for (int part = 1; part <= parts; ++part) {
    const Pairs query{{"partNumber", std::to_string(part)}, {"uploadId", out.upload_id}};
    out.urls.push_back(client_->presigned({"PUT", key, query}, kPartLives));
  }
  return out;
}

Result<void> S3Storage::complete(const std::string& path, const std::string& upload_id,
                                 const std::vector<Part>& parts) {
  LATHE_TRY(const auto key, file_key(path));
  std::vector<std::pair<int, std::string>> sent;
  for (const auto& part : parts) sent.emplace_back(part.number, part.etag);
  const auto body = completion(sent);
  LATHE_TRY(const auto answer, client_->ask({"POST", key, {{"uploadId", upload_id}}, {}, body}));
  const auto refusal = parse_refusal(answer.body);
  if (answer.good() && refusal.code.empty()) return {};
  // What the client sent wrongly; the rest is between S3 and us.
  for (const auto* wrong :
       {"NoSuchUpload", "InvalidPart", "InvalidPartOrder", "EntityTooSmall", "MalformedXML", "InvalidArgument"})
    if (refusal.code == wrong)
      return fail(Code::invalid, fmt::format("the upload of {} cannot be completed: {} ({})", shown(path),
                                             printable(refusal.message), refusal.code));
  return fail(client_->trouble("complete the upload of " + shown(path), answer));
}

Result<void> S3Storage::abort(const std::string& path, const std::string& upload_id) {
  LATHE_TRY(const auto key, file_key(path));
  LATHE_TRY(const auto answer, client_->ask({"DELETE", key, {{"uploadId", upload_id}}}));
  if (!answer.good() && answer.status != 404)
    return fail(client_->trouble("abort the upload of " + shown(path), answer));
  return {};
}

Result<Direct::Download> S3Storage::download_url(const std::string& path, std::chrono::seconds lives) {
  LATHE_TRY(const auto key, file_key(path));
  LATHE_TRY(const auto found, find(key, path));
  if (!found) return fail(no_such(path));
  return Download{client_->presigned({"GET", key}, lives), found->size};
}

Result<std::string> S3Storage::upload_url(const std::string& path, std::chrono::seconds lives) {
  LATHE_TRY(const auto key, file_key(path));
  return client_->presigned({"PUT", key}, lives);
}

/// Errors: `unavailable` — S3 is away; `invalid` — it is there and refuses us.
Result<void> check_bucket(S3Client& client, const std::string& prefix) {
  LATHE_TRY(const auto answer,
            client.ask({"GET", std::nullopt, {{"list-type", "2"}, {"prefix", prefix}, {"max-keys", "1"}}}));
  if (answer.status >= 500) return fail(client.trouble("use the bucket", answer));
  if (answer.good()) {
    const auto listed = parse_listing(answer.body);
    if (listed) return {};
    return fail(Code::invalid, fmt::format("artifacts: {}: {}", client.name(), listed.error().message));
  }
  return fail(Code::invalid, "artifacts: " + client.trouble("use the bucket", answer).message);
}

}  // namespace

Result<S3Place> parse_s3(const std::string& text) {
  S3Place out;
  auto rest = text.substr(std::string_view("s3://").size());
  while (rest.ends_with('/')) rest.pop_back();
  const auto slash = rest.find('/');
  out.bucket = rest.substr(0, slash);
  if (slash != std::string::npos) out.prefix = rest.substr(slash + 1);
  const bool good_bucket = out.bucket.size() >= 3 && out.bucket.size() <= 63 &&
                           std::all_of(out.bucket.begin(), out.bucket.end(), [](unsigned char c) {
                             return std::isdigit(c) != 0 || (c >= 'a' && c <= 'z') || c == '.' || c == '-';
                           });
  if (!good_bucket || (!out.prefix.empty() && (!check_path(out.prefix) || tidy(out.prefix) != out.prefix)))
    return fail(Code::invalid,
                fmt::format("artifacts: \"{}\" is not s3://BUCKET/PREFIX; a bucket's name has 3 to 63 lower-case "
                            "letters, digits, dots and hyphens",
                            printable(text)));
  return out;
}

Result<std::unique_ptr<Storage>> open_s3(S3Place place, const char* (*environment)(const char*)) {
  auto made = S3Client::make(place, environment);
  if (!made) return fail_in("artifacts", made.error());
  auto client = std::move(*made);
  LATHE_TRY(auto journal, UploadJournal::open(place.journal, place.prefix.empty() ? "" : place.prefix + "/"));
  const auto checked = check_bucket(*client, journal->prefix());
  if (!checked && checked.error().code != Code::unavailable) return fail(checked.error());
  const auto cleared = checked ? abort_stale_uploads(*client, *journal) : checked;
  if (!cleared) log::warn("artifacts: starting all the same why={}", cleared.error().message);
  return std::make_unique<S3Storage>(std::move(client), std::move(journal));
}

}  // namespace lathe::storage
