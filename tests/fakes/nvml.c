/* A stand-in for NVIDIA's management library, for tests: GPUs, their processes and failures stand in the file that
 * $FAKE_NVML names, which is read again at each call:
 *
 *   gpu UUID MINOR MEMORY_MIB NAME     a card
 *   mig UUID MEMORY_MIB NAME           an instance of the card above, which is then split
 *   use PERCENT MIB MILLIWATTS         how busy the card or instance above is
 *   process PID MIB                    on the card or instance above; MIB of -1: unknown
 *   fail FUNCTION CODE                 the function answers CODE
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST 64
#define API __attribute__((visibility("default")))

typedef struct {
  unsigned pid;
  unsigned long long used;
  unsigned gpu_instance, compute_instance;
} Process;

typedef struct Device {
  char uuid[96], name[96];
  unsigned minor;
  unsigned long long memory, used;
  unsigned percent, milliwatts;
  int parent; /* -1: a card */
  unsigned processes;
  Process process[MOST];
} Device;

static Device devices[MOST];
static int count;

/* 0, or what the function is told to answer. */
static int load(const char* function) {
  const char* path = getenv("FAKE_NVML");
  FILE* file = path == NULL ? NULL : fopen(path, "re");
  int answer = file == NULL ? 9 : 0; /* the driver is not loaded */
  char line[512];
  int card = -1;
  count = 0;
  while (file != NULL && fgets(line, sizeof line, file) != NULL) {
    char text[96];
    int code = 0;
    long mib = 0;
    Device* next = &devices[count < MOST ? count : MOST - 1];
    memset(text, 0, sizeof text);
    if (sscanf(line, "fail %95s %d", text, &code) == 2) {
      if (strcmp(text, function) == 0) answer = code;
    } else if (strncmp(line, "gpu ", 4) == 0 || strncmp(line, "mig ", 4) == 0) {
      const int is_card = line[0] == 'g';
      memset(next, 0, sizeof *next);
      next->parent = is_card ? -1 : card;
      if (is_card)
        sscanf(line, "gpu %95s %u %ld %95[^\n]", next->uuid, &next->minor, &mib, next->name);
      else
        sscanf(line, "mig %95s %ld %95[^\n]", next->uuid, &mib, next->name);
      next->memory = (unsigned long long)mib << 20;
      if (is_card) card = count;
      ++count;
    } else if (count > 0 && strncmp(line, "use ", 4) == 0) {
      Device* device = &devices[count - 1];
      sscanf(line, "use %u %ld %u", &device->percent, &mib, &device->milliwatts);
      device->used = (unsigned long long)mib << 20;
    } else if (count > 0 && sscanf(line, "process %d %ld", &code, &mib) == 2) {
      Device* device = &devices[count - 1];
      const Process process = {(unsigned)code, mib < 0 ? ~0ULL : (unsigned long long)mib << 20, 0, 0};
      if (device->processes < MOST) device->process[device->processes++] = process;
    }
  }
  if (file != NULL) fclose(file);
  return answer;
}

/* A handle is the device's place in the file, from 1 on. */
static Device* at(void* handle) { return &devices[(long)handle - 1]; }

/* The place of the n-th device below `parent`, or -1. */
static int find(int parent, unsigned n) {
  for (int i = 0; i < count; ++i)
    if (devices[i].parent == parent && n-- == 0) return i;
  return -1;
}

static int put(const char* text, char* into, unsigned size) {
  snprintf(into, size, "%s", text);
  return 0;
}

API int nvmlInit_v2(void) { return load("nvmlInit"); }
API int nvmlShutdown(void) { return 0; }
API const char* nvmlErrorString(int code) { return code == 9 ? "Driver Not Loaded" : "Unknown Error"; }
API int nvmlSystemGetDriverVersion(char* into, unsigned size) { return put("999.01", into, size); }

API int nvmlDeviceGetCount_v2(unsigned* cards) {
  const int code = load("nvmlDeviceGetCount");
  for (*cards = 0; find(-1, *cards) >= 0;) ++*cards;
  return code;
}

API int nvmlDeviceGetHandleByIndex_v2(unsigned index, void** handle) {
  const int code = load("nvmlDeviceGetHandleByIndex");
  const int found = find(-1, index);
  *handle = (void*)(long)(found + 1);
  return code != 0 ? code : found < 0 ? 2 : 0;
}

API int nvmlDeviceGetUUID(void* handle, char* into, unsigned size) {
  const int code = load("nvmlDeviceGetUUID");
  return code != 0 ? code : put(at(handle)->uuid, into, size);
}

API int nvmlDeviceGetName(void* handle, char* into, unsigned size) {
  const int code = load("nvmlDeviceGetName");
  return code != 0 ? code : put(at(handle)->name, into, size);
}

API int nvmlDeviceGetMemoryInfo(void* handle, unsigned long long* into) {
  const int code = load("nvmlDeviceGetMemoryInfo");
  into[0] = at(handle)->memory; /* total, free, used */
  into[1] = into[0] - at(handle)->used;
  into[2] = at(handle)->used;
  return code;
}

API int nvmlDeviceGetUtilizationRates(void* handle, unsigned* into) {
  const int code = load("nvmlDeviceGetUtilizationRates");
  into[0] = at(handle)->percent; /* the chip, its memory's bus */
  into[1] = 0;
  return code;
}

API int nvmlDeviceGetPowerUsage(void* handle, unsigned* milliwatts) {
  const int code = load("nvmlDeviceGetPowerUsage");
  *milliwatts = at(handle)->milliwatts;
  return code;
}

API int nvmlDeviceGetEnforcedPowerLimit(void* handle, unsigned* milliwatts) {
  (void)handle;
  *milliwatts = 400000;
  return 0;
}

API int nvmlDeviceGetMinorNumber(void* handle, unsigned* minor) {
  const int code = load("nvmlDeviceGetMinorNumber");
  *minor = at(handle)->minor;
  return code;
}

API int nvmlDeviceGetMigMode(void* handle, unsigned* current, unsigned* pending) {
  const int code = load("nvmlDeviceGetMigMode");
  *current = *pending = find((int)(long)handle - 1, 0) >= 0;
  return code;
}

API int nvmlDeviceGetMaxMigDeviceCount(void* handle, unsigned* most) {
  (void)handle;
  *most = 7;
  return 0;
}

API int nvmlDeviceGetMigDeviceHandleByIndex(void* handle, unsigned index, void** instance) {
  const int code = load("nvmlDeviceGetMigDeviceHandleByIndex");
  const int found = find((int)(long)handle - 1, index);
  *instance = (void*)(long)(found + 1);
  return code != 0 ? code : found < 0 ? 6 : 0;
}

API int nvmlDeviceGetComputeRunningProcesses_v3(void* handle, unsigned* there, Process* into) {
  const int code = load("nvmlDeviceGetComputeRunningProcesses");
  const Device* device = at(handle);
  const unsigned room = *there;
  *there = device->processes;
  if (code != 0) return code;
  if (room < device->processes) return 7;
  memcpy(into, device->process, device->processes * sizeof *into);
  return 0;
}
