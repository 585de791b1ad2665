#include "storage/exchange.h"

#include <curl/curl.h>
#include <fmt/format.h>

#include <charconv>

#include "base/text.h"

namespace lathe::storage {
namespace {

constexpr std::size_t kPiece = 256 * 1024;
constexpr std::size_t kMostIdle = 32;
constexpr long kConnectMs = 5000;
constexpr long kStandstillS = 60;  ///< without a byte in either direction
constexpr int kPollMs = 200;

bool is_loopback(std::string_view url) {
  const auto start = url.find("://");
  const auto host = start == std::string_view::npos ? url : url.substr(start + 3);
  return host.starts_with("127.") || host.starts_with("localhost") || host.starts_with("[::1]");
}

}  // namespace

struct Connections::Connection {
  CURLM* multi = curl_multi_init();
  CURL* easy = curl_easy_init();
  char detail[CURL_ERROR_SIZE] = "";

  Connection() = default;
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  ~Connection() {
    curl_easy_cleanup(easy);
    curl_multi_cleanup(multi);
  }
};

Connections::Connections(std::string ca_bundle) : ca_bundle_(std::move(ca_bundle)) {
  static std::once_flag once;
  std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
}
Connections::~Connections() = default;

std::unique_ptr<Connections::Connection> Connections::take() {
  const std::lock_guard lock(mutex_);
  if (idle_.empty()) return std::make_unique<Connection>();
  auto connection = std::move(idle_.back());
  idle_.pop_back();
  return connection;
}

void Connections::give_back(std::unique_ptr<Connection> connection) {
  const std::lock_guard lock(mutex_);
  if (idle_.size() < kMostIdle) idle_.push_back(std::move(connection));
}

struct Exchange::Callbacks {
  static std::size_t header(char* data, std::size_t size, std::size_t count, void* pointer) {
    auto& exchange = *static_cast<Exchange*>(pointer);
    const std::string_view line(data, size * count);
    if (line.starts_with("HTTP/")) {
      const auto space = line.find(' ');
      exchange.headers_.clear();
      exchange.status_ = 0;
      if (space != std::string_view::npos)
        std::from_chars(line.data() + space + 1, line.data() + line.size(), exchange.status_);
    } else if (trim(line).empty()) {
      exchange.head_done_ = exchange.status_ >= 200;
    } else if (const auto colon = line.find(':'); colon != std::string_view::npos) {
      exchange.headers_.emplace_back(to_lower(line.substr(0, colon)), std::string(trim(line.substr(colon + 1))));
    }
    return line.size();
  }

  static std::size_t body(char* data, std::size_t size, std::size_t count, void* pointer) {
    auto& exchange = *static_cast<Exchange*>(pointer);
    if (exchange.body_.size() >= kPiece) {
      exchange.paused_ = true;
      return CURL_WRITEFUNC_PAUSE;
    }
    exchange.body_.append(data, size * count);
    return size * count;
  }
};

Exchange::Exchange(Connections& connections, ExchangeRequest request)
    : connections_(connections), connection_(connections.take()), request_(std::move(request)) {
  CURL* const easy = connection_->easy;
  curl_easy_reset(easy);
  curl_easy_setopt(easy, CURLOPT_URL, request_.url.c_str());
  curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);  // what is signed is what is sent
  curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, connection_->detail);
  curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
  curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, kConnectMs);
  curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
  curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, kStandstillS);
  curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, static_cast<long>(kPiece));
  curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, static_cast<long>(kPiece));
  if (is_loopback(request_.url)) curl_easy_setopt(easy, CURLOPT_PROXY, "");
  if (!connections_.ca_bundle_.empty()) curl_easy_setopt(easy, CURLOPT_CAINFO, connections_.ca_bundle_.c_str());

  curl_slist* list = curl_slist_append(nullptr, "Expect:");
  for (const auto& header : request_.headers) list = curl_slist_append(list, header.c_str());
  header_list_ = list;
  curl_easy_setopt(easy, CURLOPT_HTTPHEADER, list);
  if (request_.method == "PUT" || request_.method == "POST") {
    curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request_.body.size()));
    curl_easy_setopt(easy, CURLOPT_POSTFIELDS, request_.body.empty() ? "" : request_.body.data());
  }
  curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request_.method.c_str());
  curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, &Callbacks::header);
  curl_easy_setopt(easy, CURLOPT_HEADERDATA, this);
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, &Callbacks::body);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, this);
  curl_multi_add_handle(connection_->multi, easy);
}

Exchange::~Exchange() {
  curl_multi_remove_handle(connection_->multi, connection_->easy);
  curl_slist_free_all(static_cast<curl_slist*>(header_list_));
  connections_.give_back(std::move(connection_));
}

Result<void> Exchange::drive(const std::function<bool()>& enough) {
  if (paused_) {
    paused_ = false;
    curl_easy_pause(connection_->easy, CURLPAUSE_CONT);
  }
  while (!done_ && !enough()) {
    if (connections_.interrupted_) return fail(Code::unavailable, "the server is stopping");
    int running = 0;
    curl_multi_perform(connection_->multi, &running);
    int left = 0;
    while (const auto* message = curl_multi_info_read(connection_->multi, &left)) {
      if (message->msg != CURLMSG_DONE) continue;
      done_ = true;
      code_ = static_cast<int>(message->data.result);
    }
    if (!done_ && !enough()) curl_multi_poll(connection_->multi, nullptr, 0, kPollMs, nullptr);
  }
  if (!done_ || code_ == CURLE_OK) return {};
  connected_ = code_ != CURLE_COULDNT_CONNECT && code_ != CURLE_COULDNT_RESOLVE_HOST;
  const auto code = static_cast<CURLcode>(code_);
  if (code == CURLE_OPERATION_TIMEDOUT && head_done_) return fail(Code::unavailable, "the connection stood still");
  return fail(Code::unavailable, *connection_->detail != '\0' ? connection_->detail : curl_easy_strerror(code));
}

Result<void> Exchange::head() {
  return drive([this] { return head_done_; });
}

std::string Exchange::header(std::string_view name) const {
  for (const auto& [key, value] : headers_)
    if (key == name) return value;
  return {};
}

Result<bool> Exchange::read(std::string& out) {
  LATHE_CHECK(drive([this] { return body_.size() >= kPiece; }));
  out += body_;
  body_.clear();
  return !done_;
}

}  // namespace lathe::storage
