// What an attempt sends of the files that its job leaves, or keeps for another attempt.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "remote/attempt.h"
#include "remote/tls.h"
#include "shim/text.h"

namespace lathe::remote {
namespace {

constexpr std::int64_t kPause = 100;  // ms, at least, between tries

}  // namespace

std::string Attempt::place_of(const std::string& name) const {
  return "/nodes/" + std::to_string(setting_.node) + "/outputs/" + encoded(name) + "?instance=" + instance_;
}

Attempt::Sent Attempt::send_piece(Upload& file) {
  std::string piece;
  if (!file.read(piece)) return Sent::changed;
  Digest digest;
  digest.update(piece);
  const auto answer = server_.request("POST",
                                      place_of(file.name()) + "&offset=" + std::to_string(file.have) +
                                          "&size=" + std::to_string(file.size()) + "&sha256=" + digest.finish(),
                                      piece);
  const auto sent = judged(answer);
  if (sent != Sent::well) return sent;
  file.have = static_cast<std::uint64_t>(number_in(answer.body, "have", 0));
  return number_in(answer.body, "done", 0) == 1 ? Sent::well : Sent::more;
}

Attempt::Sent Attempt::judged(const Answer& answer) {
  take_wish(answer);
  note_absence(answer);
  if (answer.ok()) next_beat_ms_ = shim::monotonic_ms() + manifest_.beat_ms;
  refusal_ = answer.ok() ? "" : answer.body;
  return answer.ok() ? Sent::well : answer.away() ? Sent::away : Sent::refused;
}

void Attempt::upload_outputs() {
  if (shim_ <= 0) return;
  for (const auto& folder : manifest_.outputs)
    if (!upload_folder(folder)) return;
}

bool Attempt::upload_folder(const std::string& folder) {
  const auto path = folder_ + "/" + folder;
  // Never through a link: what it leads to is not an output.
  const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  DIR* list = fd < 0 ? nullptr : ::fdopendir(fd);
  if (list == nullptr) return true;
  bool good = true;
  while (const dirent* entry = ::readdir(list)) {
    const std::string name = entry->d_name;
    struct stat found {};
    if (name == "." || name == ".." || ::fstatat(fd, entry->d_name, &found, AT_SYMLINK_NOFOLLOW) != 0) continue;
    if (S_ISDIR(found.st_mode))
      good = upload_folder(folder + "/" + name);
    else if (S_ISREG(found.st_mode))
      good = upload_file(path + "/" + name, folder + "/" + name);
    if (!good) break;
  }
  ::closedir(list);
  return good;
}

bool Attempt::upload_file(const std::string& path, const std::string& name) {
  Upload file;
  if (!file.open(path, name)) return true;
  for (auto sent = Sent::more; !gone_ && (sent == Sent::more || sent == Sent::away);) {
    sent = send_piece(file);
    if (sent == Sent::away) pause(std::max(retry_ms_, kPause));
    if (sent == Sent::refused && !gone_)
      failure_ = "the output " + name + " could not be sent to the server: " + refusal_;
  }
  return !gone_ && failure_.empty();
}

/// One step towards a server that has what is in the checkpoint folder, at its time. Answers whether there is more to
/// do at once.
bool Attempt::keep_checkpoint() {
  const auto now = shim::monotonic_ms();
  if (!checkpoint_ || now < retry_at_ms_) return false;
  if (now >= next_checkpoint_ms_ && !change_) {
    next_checkpoint_ms_ = now + manifest_.beat_ms;
    checkpoint_.look(false);
  }
  return send_change();
}

/// All that has changed; until it is with the server, however long that takes.
void Attempt::send_checkpoint() {
  if (!checkpoint_) return;
  change_.reset();
  checkpoint_.look(true);
  while (!gone_ && (send_change() || change_))
    if (retry_ms_ > 0) pause(retry_ms_);
}

/// One piece of a file, or a file's removal. False: nothing is left to do, or the server is away.
bool Attempt::send_change() {
  if (!change_) {
    change_ = checkpoint_.next();
    if (!change_) return false;
    if (change_->version && !upload_.open(checkpoint_.folder() + "/" + change_->path, checkpoint_name(*change_))) {
      change_.reset();  // gone meanwhile: the next look will see it
      return true;
    }
  }
  const auto sent =
      change_->version ? send_piece(upload_) : judged(server_.request("DELETE", place_of(checkpoint_name(*change_))));
  if (sent == Sent::away) return false;
  if (sent == Sent::more) return true;
  if (sent != Sent::changed) checkpoint_.settle(*change_);  // what is refused is not sent again as it is
  change_.reset();
  upload_.close();
  return true;
}

std::string Attempt::checkpoint_name(const Checkpoint::Change& change) const {
  return manifest_.checkpoint + "/" + change.path;
}

}  // namespace lathe::remote
