#include "http/client.h"

#include <curl/curl.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <mutex>

#include "base/file.h"
#include "base/text.h"
#include "base/version.h"

namespace lathe::http {
namespace {

struct FreeHandle {
  void operator()(CURL* handle) const { curl_easy_cleanup(handle); }
};
struct FreeList {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};
using Handle = std::unique_ptr<CURL, FreeHandle>;

Handle new_handle() {
  static std::once_flag once;
  std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
  return Handle(curl_easy_init());
}

std::string fingerprint_of(X509* certificate) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int size = 0;
  if (certificate == nullptr || X509_digest(certificate, EVP_sha256(), digest.data(), &size) != 1) return {};
  std::string hex;
  for (unsigned int i = 0; i < size; ++i) hex += fmt::format("{:02x}", digest[i]);
  return hex;
}

/// Stands in for OpenSSL's check of the chain: the pin decides, or, with an empty `wanted`, anything goes.
struct Pin {
  std::string wanted;
  std::string seen;
};

int check_pin(X509_STORE_CTX* store, void* pin_pointer) {
  auto* pin = static_cast<Pin*>(pin_pointer);
  pin->seen = fingerprint_of(X509_STORE_CTX_get0_cert(store));
  const bool same = pin->wanted.empty() || pin->seen == to_lower(pin->wanted);
  X509_STORE_CTX_set_error(store, same ? X509_V_OK : X509_V_ERR_CERT_REJECTED);
  return same ? 1 : 0;
}

CURLcode install_pin(CURL*, void* context, void* pin) {
  SSL_CTX_set_cert_verify_callback(static_cast<SSL_CTX*>(context), &check_pin, pin);
  return CURLE_OK;
}

void use_pin(CURL* handle, Pin& pin) {
  curl_easy_setopt(handle, CURLOPT_SSL_CTX_FUNCTION, &install_pin);
  curl_easy_setopt(handle, CURLOPT_SSL_CTX_DATA, &pin);
  curl_easy_setopt(handle, CURLOPT_SSL_VERIFYHOST, 0L);
}

bool is_loopback(std::string_view url) {
  const auto start = url.find("://");
  if (start == std::string_view::npos) return false;
  const auto host = url.substr(start + 3);
  return host.starts_with("127.") || host.starts_with("localhost") || host.starts_with("[::1]");
}

Error curl_error(CURLcode code, const std::string& url, const Pin& pin, const char* detail) {
  const std::string why = *detail != '\0' ? detail : curl_easy_strerror(code);
  if (code == CURLE_OPERATION_TIMEDOUT) return {Code::timeout, fmt::format("{} did not answer in time", url), {}};
  if (code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CONNECT_ERROR) {
    if (!pin.wanted.empty() && !pin.seen.empty() && pin.seen != to_lower(pin.wanted))
      return {
          Code::unauthenticated,
          fmt::format("{} shows another certificate (sha256 {}) than the pinned one (sha256 {}); if it was replaced, "
                      "run `lathe login {}` again",
                      url, pin.seen, pin.wanted, url),
          {}};
    if (code == CURLE_PEER_FAILED_VERIFICATION)
      return {Code::unauthenticated,
              fmt::format("the certificate of {} is not trusted ({}); `lathe login {}` pins it", url, why, url),
              {}};
  }
  if (code == CURLE_URL_MALFORMAT || code == CURLE_UNSUPPORTED_PROTOCOL)
    return {
        Code::invalid, fmt::format("\"{}\" is not a server's URL; expected http://HOST:PORT or https://HOST", url), {}};
  return {Code::unavailable, fmt::format("cannot reach {}: {}", url, why), {}};
}

}  // namespace

/// What one transfer reads and writes.
struct Transfer {
  CURL* handle = nullptr;
  std::string body;
  std::function<bool(std::string_view)> piece;  ///< empty: collect in `body`
  bool stopped = false;
  std::vector<std::pair<std::string, std::string>> headers = {};

  bool good() const {
    long status = 0;
    curl_easy_getinfo(handle, CURLINFO_RESPONSE_CODE, &status);
    return status >= 200 && status < 300;
  }
};

static std::size_t on_body(char* data, std::size_t size, std::size_t count, void* pointer) {
  auto& transfer = *static_cast<Transfer*>(pointer);
  const std::string_view bytes(data, size * count);
  if (!transfer.piece || !transfer.good()) {
    transfer.body += bytes;
    return bytes.size();
  }
  if (transfer.piece(bytes)) return bytes.size();
  transfer.stopped = true;
  return bytes.empty() ? 1 : 0;
}

static std::size_t on_header(char* data, std::size_t size, std::size_t count, void* pointer) {
  auto& headers = static_cast<Transfer*>(pointer)->headers;
  const std::string_view line(data, size * count);
  const auto colon = line.find(':');
  if (line.starts_with("HTTP/")) headers.clear();  // what came before was a 100 Continue
  else if (colon != std::string_view::npos)
    headers.emplace_back(to_lower(line.substr(0, colon)), std::string(trim(line.substr(colon + 1))));
  return line.size();
}

static int on_progress(void* pointer, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  auto& transfer = *static_cast<Transfer*>(pointer);
  if (transfer.piece && !transfer.piece({})) transfer.stopped = true;
  return transfer.stopped ? 1 : 0;
}

static std::size_t on_read(char* buffer, std::size_t size, std::size_t count, void* pointer) {
  const auto got = ::read(*static_cast<int*>(pointer), buffer, size * count);
  return got < 0 ? CURL_READFUNC_ABORT : static_cast<std::size_t>(got);
}

struct Client::State {
  ClientOptions options;
  Handle handle = new_handle();
  Pin pin;

  struct Request {
    std::string_view method;
    const std::string& path;
    std::string_view body = {};
    const Headers* headers = nullptr;
    std::function<bool(std::string_view)> piece = {};
    int upload_fd = -1;
    curl_off_t upload_bytes = 0;
    bool limited = true;  ///< whether the whole request has a time limit
  };

  Result<ClientResponse> run(const Request& request) {
    CURL* const curl = handle.get();
    curl_easy_reset(curl);
    const std::string url = options.url + request.path;
    const std::string method(request.method);
    char detail[CURL_ERROR_SIZE] = "";
    curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, detail);
    curl_easy_setopt(curl, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(options.connect_timeout.count()));
    if (request.limited) curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, static_cast<long>(options.timeout.count()));
    if (is_loopback(options.url)) curl_easy_setopt(curl, CURLOPT_PROXY, "");
    pin = Pin{options.certificate_sha256, {}};
    if (!pin.wanted.empty()) use_pin(curl, pin);

    std::unique_ptr<curl_slist, FreeList> headers(curl_slist_append(nullptr, "Expect:"));
    const auto add_header = [&](const std::string& line) {
      headers.reset(curl_slist_append(headers.release(), line.c_str()));
    };
    add_header(fmt::format("User-Agent: lathe/{}", version()));
    if (!options.authorization.empty()) add_header("Authorization: " + options.authorization);
    else if (!options.token.empty()) add_header("Authorization: Bearer " + options.token);
    static const Headers kNone;
    const auto& extra = request.headers != nullptr ? *request.headers : kNone;
    const bool typed = std::any_of(extra.begin(), extra.end(),
                                   [](const auto& header) { return to_lower(header.first) == "content-type"; });
    if (!typed)
      add_header(request.upload_fd >= 0 ? "Content-Type: application/octet-stream" : "Content-Type: application/json");
    for (const auto& [name, value] : extra) add_header(name + ": " + value);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers.get());

    int upload_fd = request.upload_fd;
    if (upload_fd >= 0) {
      curl_easy_setopt(curl, CURLOPT_UPLOAD, 1L);
      curl_easy_setopt(curl, CURLOPT_READFUNCTION, &on_read);
      curl_easy_setopt(curl, CURLOPT_READDATA, &upload_fd);
      curl_easy_setopt(curl, CURLOPT_INFILESIZE_LARGE, request.upload_bytes);
    } else if (method == "HEAD") {
      curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
    } else if (method != "GET" && (!request.body.empty() || method == "POST")) {
      curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request.body.size()));
      curl_easy_setopt(curl, CURLOPT_POSTFIELDS, request.body.data() == nullptr ? "" : request.body.data());
    }
    if (method != "HEAD") curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method.c_str());

    Transfer transfer{curl, {}, request.piece, false};
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, &on_header);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, &transfer);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, &on_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &transfer);
    curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, &on_progress);
    curl_easy_setopt(curl, CURLOPT_XFERINFODATA, &transfer);

    const CURLcode code = curl_easy_perform(curl);
    if (code != CURLE_OK && !transfer.stopped) return fail(curl_error(code, options.url, pin, detail));
    ClientResponse response;
    long status = 0;
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    response.status = static_cast<int>(status);
    const char* type = nullptr;
    curl_easy_getinfo(curl, CURLINFO_CONTENT_TYPE, &type);
    if (type != nullptr) response.type = type;
    response.body = std::move(transfer.body);
    response.headers = std::move(transfer.headers);
    return response;
  }
};

Client::Client(ClientOptions options) : state_(std::make_unique<State>()) {
  while (options.url.ends_with('/')) options.url.pop_back();
  state_->options = std::move(options);
}
Client::~Client() = default;
Client::Client(Client&&) noexcept = default;
Client& Client::operator=(Client&&) noexcept = default;

Result<ClientResponse> Client::request(std::string_view method, const std::string& path, std::string_view body,
                                       const Headers& headers) {
  return state_->run({.method = method, .path = path, .body = body, .headers = &headers});
}

Result<ClientResponse> Client::stream(std::string_view method, const std::string& path,
                                      const std::function<bool(std::string_view)>& piece, const Headers& headers) {
  return state_->run({.method = method, .path = path, .headers = &headers, .piece = piece, .limited = false});
}

Result<ClientResponse> Client::put_file(const std::string& path, const std::string& file) {
  const Fd input(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat info {};
  if (!input || ::fstat(input.get(), &info) != 0) return fail(errno_error("cannot read " + file));
  return state_->run({.method = "PUT",
                      .path = path,
                      .upload_fd = input.get(),
                      .upload_bytes = static_cast<curl_off_t>(info.st_size),
                      .limited = false});
}

Result<ClientResponse> Client::get_file(const std::string& path, const std::string& file) {
  const std::string partial = fmt::format("{}.{}.part", file, ::getpid());
  const Fd output(::open(partial.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
  if (!output) return fail(errno_error("cannot write " + file));
  Result<void> written;
  const auto piece = [&](std::string_view bytes) {
    if (written && !bytes.empty()) written = write_all(output.get(), bytes, file);
    return written.has_value();
  };
  auto response = state_->run({.method = "GET", .path = path, .piece = piece, .limited = false});
  const bool complete = response && written && response->status >= 200 && response->status < 300;
  if (complete && ::rename(partial.c_str(), file.c_str()) != 0) written = fail(errno_error("cannot write " + file));
  if (!complete || !written) ::unlink(partial.c_str());
  if (!written) return fail(written.error());
  return response;
}

Result<std::string> certificate_fingerprint(const std::string& url) {
  const Handle handle = new_handle();
  char detail[CURL_ERROR_SIZE] = "";
  Pin pin;
  curl_easy_setopt(handle.get(), CURLOPT_URL, url.c_str());
  curl_easy_setopt(handle.get(), CURLOPT_PROTOCOLS_STR, "https");
  curl_easy_setopt(handle.get(), CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(handle.get(), CURLOPT_ERRORBUFFER, detail);
  curl_easy_setopt(handle.get(), CURLOPT_CONNECT_ONLY, 1L);
  curl_easy_setopt(handle.get(), CURLOPT_CONNECTTIMEOUT_MS, 10000L);
  if (is_loopback(url)) curl_easy_setopt(handle.get(), CURLOPT_PROXY, "");
  use_pin(handle.get(), pin);
  const CURLcode code = curl_easy_perform(handle.get());
  if (code != CURLE_OK) return fail(curl_error(code, url, pin, detail));
  if (pin.seen.empty()) return fail(Code::unavailable, fmt::format("{} showed no certificate", url));
  return pin.seen;
}

}  // namespace lathe::http
