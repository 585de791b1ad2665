#include "infer/cluster/exchange.h"

#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "base/text.h"
#include "infer/http/request_parser.h"

namespace lathe::infer {

namespace asio = http::asio;
using Outcome = Exchanged::Outcome;

namespace {

constexpr std::chrono::seconds kConnectLimit{3};
constexpr std::size_t kPiece = std::size_t{16} << 10;
constexpr std::size_t kMostHead = std::size_t{64} << 10;
constexpr std::size_t kMostBody = std::size_t{1} << 30;

/// Accepts the one certificate, whoever signed it. `pin`: its digest.
int check_pin(X509_STORE_CTX* context, void* pin) {
  X509* const shown = X509_STORE_CTX_get0_cert(context);
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int size = 0;
  if (shown == nullptr || X509_digest(shown, EVP_sha256(), digest.data(), &size) != 1) return 0;
  std::string hex;
  constexpr const char* kDigits = "0123456789abcdef";
  for (unsigned int i = 0; i < size; ++i) {
    hex += kDigits[digest[i] >> 4];
    hex += kDigits[digest[i] & 15];
  }
  return hex == *static_cast<const std::string*>(pin) ? 1 : 0;
}

}  // namespace

std::string_view Exchanged::header(std::string_view name) const {
  const auto found = std::find_if(headers.begin(), headers.end(), [&](const auto& each) { return each.first == name; });
  return found == headers.end() ? std::string_view{} : std::string_view(found->second);
}

bool read_reply_head(std::string_view head, Exchanged& into, std::size_t& length) {
  constexpr std::string_view kVersion = "HTTP/1.1 ";
  auto end = std::min(head.find("\r\n"), head.size());
  auto line = head.substr(0, end);
  if (!line.starts_with(kVersion)) return false;
  line.remove_prefix(kVersion.size());
  const auto [rest, error] = std::from_chars(line.data(), line.data() + line.size(), into.status);
  if (error != std::errc{} || into.status < 200 || into.status > 599) return false;
  bool has_length = false;
  into.keep = true;
  for (head.remove_prefix(std::min(end + 2, head.size())); !head.empty();
       head.remove_prefix(std::min(end + 2, head.size()))) {
    end = std::min(head.find("\r\n"), head.size());
    line = head.substr(0, end);
    if (line.empty()) break;
    const auto colon = line.find(':');
    if (colon == std::string_view::npos) return false;
    auto name = to_lower(line.substr(0, colon));
    const auto value = trim(line.substr(colon + 1));
    if (name == "content-length") {
      const auto [stop, wrong] = std::from_chars(value.data(), value.data() + value.size(), length);
      if (wrong != std::errc{} || stop != value.data() + value.size() || length > kMostBody) return false;
      has_length = true;
    } else if (name == "connection") {
      into.keep = !http::equal_ignoring_case(value, "close");
    } else {
      into.headers.emplace_back(std::move(name), value);
    }
  }
  return has_length;
}

PeerConnection::PeerConnection(asio::io_context& io, http::tcp::endpoint to, http::Tls::Context tls)
    : io_(io), to_(std::move(to)), tls_(std::move(tls)), connecting_(io), timer_(io) {}

bool PeerConnection::is_usable() {
  if (!stream_ || !stream_->is_open() || closed_) return false;
  char byte = 0;
  return ::recv(stream_->native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 &&
         (errno == EAGAIN || errno == EWOULDBLOCK);
}

void PeerConnection::ask(std::string head, std::string_view body, std::chrono::steady_clock::time_point deadline,
                         Done done) {
  head_ = std::move(head);
  body_ = body;
  done_ = std::move(done);
  answer_ = {};
  filled_ = body_start_ = length_ = 0;
  deadline_ = deadline;
  if (!stream_) return connect();
  close_at(deadline_);
  write_head();
}

void PeerConnection::close_at(std::chrono::steady_clock::time_point time) {
  timer_.expires_at(time);
  timer_.async_wait([weak = weak_from_this()](const boost::system::error_code& cancelled) {
    const auto self = weak.lock();
    if (self && !cancelled && self->timer_.expiry() <= std::chrono::steady_clock::now()) self->close();
  });
}

void PeerConnection::close() {
  closed_ = true;
  boost::system::error_code ignored;
  connecting_.close(ignored);
  if (stream_) stream_->close();
}

void PeerConnection::connect() {
  close_at(std::min(deadline_, std::chrono::steady_clock::now() + kConnectLimit));
  connecting_.async_connect(to_, [self = shared_from_this()](const boost::system::error_code& error) {
    if (error || self->closed_) return self->end(Outcome::not_sent);
    self->close_at(self->deadline_);
    boost::system::error_code ignored;
    self->connecting_.set_option(http::tcp::no_delay(true), ignored);
    self->stream_ =
        std::make_unique<http::Stream>(std::move(self->connecting_), self->tls_, http::Stream::Side::client);
    self->write_head();
  });
}

void PeerConnection::write_head() {
  stream_->async_write(asio::buffer(head_),
                       [self = shared_from_this()](const boost::system::error_code& error, std::size_t count) {
                         if (!error) return self->write_body();
                         const bool none = count == 0 && !self->stream_->has_sent();
                         self->end(none ? Outcome::not_sent : Outcome::lost);
                       });
}

void PeerConnection::write_body() {
  if (body_.empty()) return read();
  stream_->async_write(asio::buffer(body_.data(), body_.size()),
                       [self = shared_from_this()](const boost::system::error_code& error, std::size_t) {
                         if (error) return self->end(Outcome::lost);
                         self->read();
                       });
}

void PeerConnection::read() {
  const auto missing = body_start_ == 0 ? 0 : body_start_ + length_ - filled_;
  in_.resize(filled_ + std::max(kPiece, missing));
  stream_->async_read_some(asio::buffer(in_.data() + filled_, in_.size() - filled_),
                           [self = shared_from_this()](const boost::system::error_code& error, std::size_t count) {
                             if (error) return self->end(Outcome::lost);
                             self->take(count);
                           });
}

void PeerConnection::take(std::size_t count) {
  filled_ += count;
  const std::string_view got(in_.data(), filled_);
  if (body_start_ == 0) {
    const auto blank = got.find("\r\n\r\n");
    if (blank == std::string_view::npos) return filled_ > kMostHead ? end(Outcome::lost) : read();
    if (!read_reply_head(got.substr(0, blank), answer_, length_)) return end(Outcome::lost);
    body_start_ = blank + 4;
  }
  if (filled_ < body_start_ + length_) return read();
  if (filled_ > body_start_ + length_) answer_.keep = false;
  answer_.body.assign(in_, body_start_, length_);
  end(Outcome::answered);
}

void PeerConnection::end(Outcome outcome) {
  timer_.cancel();
  answer_.outcome = outcome;
  if (outcome != Outcome::answered || closed_) {
    answer_.keep = false;
    close();
  }
  if (in_.capacity() > (std::size_t{1} << 20)) in_ = {};
  // Posted: whoever asked may ask again from it.
  asio::post(io_,
             [done = std::exchange(done_, {}), answer = std::move(answer_)]() mutable { done(std::move(answer)); });
}

http::Tls::Context peer_tls(std::string certificate_sha256) {
  struct Pinned {
    const std::string pin;
    SSL_CTX* const context = SSL_CTX_new(TLS_client_method());
    explicit Pinned(std::string digest) : pin(std::move(digest)) {}
    ~Pinned() { SSL_CTX_free(context); }
    Pinned(const Pinned&) = delete;
  };
  const auto pinned = std::make_shared<Pinned>(std::move(certificate_sha256));
  auto* const context = pinned->context;
  if (context == nullptr) return nullptr;
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nullptr);
  SSL_CTX_set_cert_verify_callback(context, check_pin, const_cast<std::string*>(&pinned->pin));
  SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  return {pinned, context};
}

}  // namespace lathe::infer
