#pragma once

#include <sys/socket.h>

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "remote/tls.h"

namespace lathe::remote {

/// Where the server answers for this attempt.
struct Place {
  bool tls = false;
  std::string host;
  std::string port;
  std::string path;   ///< of the attempt, without a slash at its end
  std::string token;  ///< sent as Bearer
  std::string pin;    ///< as Tls::begin
};

/// Reads "http://HOST:PORT/PATH". False when it is none.
bool parse_url(const std::string& url, Place& place);

struct Answer {
  int status = 0;    ///< 0: nobody answered, and `body` says why
  std::string body;  ///< of a failure, or of all that goes to no sink
  bool ok() const { return status >= 200 && status < 300; }
  /// Worth another try later: the server is away, or overloaded.
  bool away() const { return status == 0 || status == 429 || status >= 500; }
};

/// HTTP/1.1 over one connection that is kept. One thread. Each wait for the other side ends after 30 s.
class Connection {
 public:
  explicit Connection(Place place) : place_(std::move(place)) {}
  ~Connection() { close(); }
  Connection(const Connection&) = delete;

  /// `path` is below the attempt's. The body of a 2xx answer goes to `sink` piece by piece when there is one; false
  /// from it breaks off. Tries once more when the kept connection has gone meanwhile.
  Answer request(const char* method, const std::string& path, std::string_view body = {},
                 const std::function<bool(std::string_view)>& sink = {});

  /// The address of this machine by which it reaches the server. Connects when that has not been done.
  std::string local_address();

 private:
  bool open(std::string& error);
  void close();
  bool send(std::string_view bytes);
  bool receive();
  bool line(std::string& out);
  bool pass_on(std::size_t size, Answer& answer, const std::function<bool(std::string_view)>& sink);
  bool read_answer(Answer& answer, const std::function<bool(std::string_view)>& sink, bool& begun);

  Place place_;
  int socket_ = -1;
  std::unique_ptr<Tls> tls_;
  std::string received_;  ///< and not used yet
};

/// "10.0.0.7"; empty for what is neither IPv4 nor IPv6.
std::string text_of(const sockaddr& address);

/// Percent-encoded for a query's value; '/' stays.
std::string encoded(std::string_view text);

}  // namespace lathe::remote
