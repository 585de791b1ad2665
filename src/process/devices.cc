#include "process/devices.h"

#include <fcntl.h>
#include <linux/bpf.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>

#include "base/file.h"

namespace lathe::process {
namespace {

bpf_insn instruction(int code, int to, int from, int offset, int value) {
  bpf_insn out{};
  out.code = static_cast<__u8>(code);
  out.dst_reg = static_cast<__u8>(to & 15);
  out.src_reg = static_cast<__u8>(from & 15);
  out.off = static_cast<__s16>(offset);
  out.imm = value;
  return out;
}

/// The kernel hands the program a bpf_cgroup_dev_ctx in register 1 and takes 1 in register 0 for "allowed".
std::vector<bpf_insn> program(const std::vector<Device>& devices) {
  constexpr int kLoad = BPF_LDX | BPF_MEM | BPF_W;
  constexpr int kAnd = BPF_ALU | BPF_AND | BPF_K;
  constexpr int kSet = BPF_ALU64 | BPF_MOV | BPF_K;
  constexpr int kUnless = BPF_JMP | BPF_JNE | BPF_K;
  constexpr int kExit = BPF_JMP | BPF_EXIT;
  std::vector<bpf_insn> out;
  out.push_back(instruction(kSet, BPF_REG_0, 0, 0, 1));
  out.push_back(instruction(kLoad, BPF_REG_2, BPF_REG_1, 0, 0));  // access << 16 | type
  out.push_back(instruction(kAnd, BPF_REG_2, 0, 0, 0xffff));
  out.push_back(instruction(kLoad, BPF_REG_3, BPF_REG_1, 4, 0));  // major
  out.push_back(instruction(kLoad, BPF_REG_4, BPF_REG_1, 8, 0));  // minor
  for (const auto& device : devices) {
    out.push_back(instruction(kUnless, BPF_REG_2, 0, 3, BPF_DEVCG_DEV_CHAR));
    out.push_back(instruction(kUnless, BPF_REG_3, 0, 2, static_cast<int>(device.major)));
    out.push_back(instruction(kUnless, BPF_REG_4, 0, 1, static_cast<int>(device.minor)));
    out.push_back(instruction(kSet, BPF_REG_0, 0, 0, 0));
  }
  out.push_back(instruction(kExit, 0, 0, 0, 0));
  return out;
}

int bpf(int command, bpf_attr& attributes) {
  return static_cast<int>(::syscall(SYS_bpf, command, &attributes, sizeof attributes));
}

Error no_bpf(const std::string& what) {
  auto error = errno_error(what);
  if (errno == EINVAL || errno == ENOSYS) error.code = Code::forbidden;
  return error;
}

}  // namespace

Result<void> deny_devices(const std::string& group, const std::vector<Device>& devices) {
  const auto code = program(devices);
  bpf_attr load;
  std::memset(&load, 0, sizeof load);
  load.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
  load.insns = reinterpret_cast<std::uintptr_t>(code.data());
  load.insn_cnt = static_cast<__u32>(code.size());
  load.license = reinterpret_cast<std::uintptr_t>("GPL");
  const Fd loaded{bpf(BPF_PROG_LOAD, load)};
  if (!loaded) return fail(no_bpf("cannot load the program that denies devices"));
  const Fd folder{::open(group.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (!folder) return fail(errno_error("cannot open " + group));
  bpf_attr attach;
  std::memset(&attach, 0, sizeof attach);
  attach.target_fd = static_cast<__u32>(folder.get());
  attach.attach_bpf_fd = static_cast<__u32>(loaded.get());
  attach.attach_type = BPF_CGROUP_DEVICE;
  attach.attach_flags = BPF_F_ALLOW_MULTI;  // beside what systemd attached to the groups above
  if (bpf(BPF_PROG_ATTACH, attach) != 0) return fail(no_bpf("cannot deny devices to " + group));
  return {};
}

}  // namespace lathe::process
