#include "infer/cluster/join.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <sys/socket.h>

#include <array>
#include <cstdlib>
#include <memory>

#include "base/log.h"

namespace lathe::infer {
namespace {

/// HOST, PORT of "http://HOST:PORT" and of "HOST:PORT"; a host of IPv6 keeps its brackets.
std::pair<std::string, std::string> place_of(const std::string& url) {
  const auto scheme = url.find("://");
  auto place = scheme == std::string::npos ? url : url.substr(scheme + 3);
  place = place.substr(0, place.find('/'));
  const auto colon = place.rfind(':');
  if (colon == std::string::npos || place.ends_with(']')) return {place, url.starts_with("https") ? "443" : "80"};
  return {place.substr(0, colon), place.substr(colon + 1)};
}

std::string without_brackets(const std::string& host) {
  return host.starts_with('[') && host.ends_with(']') ? host.substr(1, host.size() - 2) : host;
}

bool is_loopback(const std::string& host) {
  const auto plain = without_brackets(host);
  return plain == "localhost" || plain == "::1" || plain.starts_with("127.");
}

bool is_url(const std::string& url) {
  return (url.starts_with("http://") || url.starts_with("https://")) && !place_of(url).first.empty();
}

/// The address of this machine that its packets to `server` carry. Nothing is sent.
Result<std::string> own_address(const std::string& server) {
  const auto [host, port] = place_of(server);
  addrinfo wanted{};
  wanted.ai_socktype = SOCK_DGRAM;
  addrinfo* found = nullptr;
  const auto why = "cannot tell by which address others reach this machine: say it with --advertise";
  if (::getaddrinfo(without_brackets(host).c_str(), port.c_str(), &wanted, &found) != 0 || found == nullptr)
    return fail(Code::invalid, why);
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(found, ::freeaddrinfo);
  const Fd socket(::socket(found->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_storage own{};
  socklen_t size = sizeof own;
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (!socket || ::connect(socket.get(), found->ai_addr, found->ai_addrlen) != 0 ||
      ::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&own), &size) != 0 ||
      ::getnameinfo(reinterpret_cast<sockaddr*>(&own), size, text.data(), text.size(), nullptr, 0, NI_NUMERICHOST) != 0)
    return fail(Code::invalid, why);
  const std::string address = text.data();
  return address.find(':') == std::string::npos ? address : "[" + address + "]";
}

}  // namespace

Result<std::filesystem::path> default_folder() {
  if (const char* data = std::getenv("XDG_DATA_HOME"); data != nullptr && *data != '\0')
    return std::filesystem::path(data) / "lathe-infer";
  if (const char* home = std::getenv("HOME"); home != nullptr && *home != '\0')
    return std::filesystem::path(home) / ".local/share/lathe-infer";
  return fail(Code::invalid, "where to keep what is served? Say it with --folder");
}

std::string default_host(const JoinOptions& join) {
  return join.server.empty() || is_loopback(place_of(join.server).first) ? "127.0.0.1" : "0.0.0.0";
}

Result<MemberOptions> member_options(const JoinOptions& join, std::filesystem::path folder, const std::string& rest,
                                     const std::string& grpc) {
  if (!is_url(join.server))
    return fail(Code::invalid,
                "--join takes the server's URL, such as https://ml.example.org:8080, not \"" + join.server + "\"");
  if (!join.advertise.empty() &&
      (!is_url(join.advertise) || join.advertise.starts_with("https") != rest.starts_with("https")))
    return fail(Code::invalid, "--advertise takes the URL by which others reach this machine, " +
                                   rest.substr(0, rest.find(':')) + "://HOST:PORT, not \"" + join.advertise + "\"");
  MemberOptions out{std::move(folder), join.server, join.certificate_sha256, join.token_file, join.advertise, {}, {}};
  while (out.server.ends_with('/')) out.server.pop_back();
  auto [host, port] = place_of(rest);
  if (!join.advertise.empty()) {
    host = place_of(join.advertise).first;
  } else {
    if (host == "0.0.0.0" || host == "[::]") {
      LATHE_TRY(host, own_address(join.server));
    }
    out.url = rest.substr(0, rest.find("://") + 3) + host + ":" + port;
  }
  out.grpc = host + ":" + place_of(grpc).second;
  const auto server_host = place_of(join.server).first;
  if (is_loopback(host) && !is_loopback(server_host))
    return fail(Code::invalid,
                "nobody else reaches this machine by " + host + ": listen on another address (--host 0.0.0.0)");
  if (join.server.starts_with("http://") && !is_loopback(server_host))
    log::warn("the server is asked without TLS: whoever is on the way reads the token and the models url={}",
              join.server);
  if (rest.starts_with("http://") && !is_loopback(host))
    log::warn(
        "predictions are answered without TLS: whoever is on the way reads endpoints' keys; see --tls-certificate");
  return out;
}

}  // namespace lathe::infer
