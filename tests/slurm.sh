#!/bin/bash
# A real Slurm cluster of several nodes on one machine, for the tests. Needs root and the packages of group "test".
#
#   tests/slurm.sh up DIR [-n NODES=3] [-e ELASTIC=2] [-g GPUS_PER_NODE=0] [-a] [--hide PATH]...
#   tests/slurm.sh down DIR
#   tests/slurm.sh exec DIR COMMAND...          as on the cluster's login node
#   tests/slurm.sh node-on|node-off DIR NODE    plug in, or cut the power of a node: everything on it dies at once
#   tests/slurm.sh net-cut|net-mend DIR NODE    take the node's network link down or up
#   tests/slurm.sh ctld-kill|ctld-on DIR        kill -9 the controller, or start it again
#   tests/slurm.sh ctld-renew DIR               start it again with job numbers that it never gave: after a kill -9 it may
#                                               give those of its last seconds twice, and nodes mind
#
# The cluster is one PID, network, mount and UTS namespace, whose init runs munged and slurmctld; each node is a further
# one inside it, with its own name, address, /tmp, /dev/shm and slurmd. Nothing of the machine's network, of /etc or of
# its services is touched, and `down` kills one process, with which everything goes. Nodes n1... are always there (partition
# main, whose jobs give way to those of urgent); nodes e1... (partition elastic) are started and stopped by Slurm's power
# saving. Nodes do not see the PATHs to hide, nor /tmp: what a job has there came by the network. With -a (packages slurmdbd,
# mariadb-server) it keeps accounts, and the controller forgets a job soon after its end.
set -euo pipefail
self=$(readlink -f "$0")
nodes=3 elastic=2 gpus=0 accounts=0 of_accounts=() hide=()
net=10.77.0  # the controller is .1, node nI .(10+I), node eI .(100+I)
verb=${1:-help}
[ $# -lt 2 ] || dir=$(realpath -m "$2")
shift 2 2>/dev/null || shift $#
while [[ ${1:-} == -* ]]; do
  case $1 in
    -n) nodes=$2 && shift 2 ;;
    -e) elastic=$2 && shift 2 ;;
    -g) gpus=$2 && shift 2 ;;
    -a) accounts=1 of_accounts=(-a) && shift ;;
    --hide) hide+=("$2") && shift 2 ;;
    *) break ;;
  esac
done

stop() {
  echo "slurm: $1" >&2
  exit 1
}
wait_for() {  # SECONDS COMMAND...; -w PID in front: only while that process is there
  local i pid=$$
  [ "$1" != -w ] || { pid=$2 && shift 2; }
  for ((i = 0; i < $1 * 50; i++)); do
    "${@:2}" >/dev/null 2>&1 && return 0
    [ -d "/proc/$pid" ] || return 1
    sleep 0.02
  done
  return 1
}
address() {
  case $1 in
    n*) echo $net.$((10 + ${1#n})) ;;
    e*) echo $net.$((100 + ${1#e})) ;;
    *) stop "there is no node $1" ;;
  esac
}
init_pid() {
  [ -s "$dir/run/init.pid" ] && [ -d "/proc/$(<"$dir/run/init.pid")" ] && cat "$dir/run/init.pid"
}
inside() {
  local pid
  pid=$(init_pid) || stop "the cluster $dir does not run"
  SLURM_CONF=$dir/etc/slurm.conf nsenter -t "$pid" -n -m -u -p -r --wd=/ -- "$@"
}
child_of() {  # the first child of the process $1, once it is there
  local i child
  for ((i = 0; i < 500; i++)); do
    child=$(tr -d ' ' <"/proc/$1/task/$1/children" 2>/dev/null) && [ -n "$child" ] && echo "$child" && return
    sleep 0.01
  done
  stop "a namespace did not start"
}

write_config() {
  mkdir -p "$dir"/{etc,run,state,spool,log,dev,bin,tmp}
  chmod 755 "$dir" "$dir"/*
  cp "$self" "$dir/bin/slurm.sh"
  printf '%s\n' "${hide[@]}" >"$dir/etc/hide"
  (umask 077 && head -c 128 /dev/urandom >"$dir/etc/munge.key")
  local i gres=""
  {
    echo "127.0.0.1 localhost"
    echo "$net.1 ctl"
    for ((i = 1; i <= nodes; i++)); do echo "$(address n$i) n$i"; done
    for ((i = 1; i <= elastic; i++)); do echo "$(address e$i) e$i"; done
  } >"$dir/etc/hosts"
  if ((gpus)); then  # character devices of a major number that nobody has
    for ((i = 0; i < gpus; i++)); do mknod "$dir/dev/gpu$i" c 240 $i; done
    gres="Gres=gpu:$gpus"
    echo "Name=gpu File=$dir/dev/gpu[0-$((gpus - 1))]" >"$dir/etc/gres.conf"
  fi
  for i in resume suspend; do
    printf '#!/bin/bash\nfor n in $(scontrol show hostnames "$1"); do %s _%s %s $n; done\n' \
      "$dir/bin/slurm.sh" "$i" "$dir" >"$dir/bin/$i"
  done
  chmod 755 "$dir"/bin/*
  cat >"$dir/etc/slurm.conf" <<CONF
ClusterName=lathe
SlurmctldHost=ctl($net.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$dir/run/munge.sock
CredType=cred/munge
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool/%n
TmpFS=/tmp
SlurmctldPidFile=$dir/run/slurmctld.pid
SlurmdPidFile=$dir/run/slurmd-%n.pid
SlurmctldLogFile=$dir/log/slurmctld.log
SlurmdLogFile=$dir/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=2,batch_sched_delay=0
PriorityType=priority/multifactor
PrivateData=cloud
KillWait=3
MinJobAge=$( ((accounts)) && echo 2 || echo 60)
$( ((accounts)) && printf '%s\n' AccountingStorageType=accounting_storage/slurmdbd \
  AccountingStorageHost=ctl "AccountingStoragePass=$dir/run/munge.sock")
MaxJobCount=20000
ReturnToService=2
SlurmctldTimeout=30
SlurmdTimeout=8
MpiDefault=none
$( ((gpus)) && echo GresTypes=gpu)
SlurmdParameters=config_overrides
SlurmctldParameters=cloud_dns,idle_on_node_suspend,power_save_interval=1,power_save_min_interval=0
ResumeProgram=$dir/bin/resume
SuspendProgram=$dir/bin/suspend
ResumeTimeout=30
SuspendTimeout=5
SuspendTime=20
ResumeRate=0
SuspendRate=0
TreeWidth=65533
SuspendExcNodes=n[1-$nodes]
NodeName=DEFAULT CPUs=8 RealMemory=4000 $gres State=UNKNOWN
$(for ((i = 1; i <= nodes; i++)); do echo "NodeName=n$i NodeAddr=$(address n$i)"; done)
$(for ((i = 1; i <= elastic; i++)); do echo "NodeName=e$i NodeAddr=$(address e$i) State=CLOUD"; done)
PreemptType=preempt/partition_prio
PreemptMode=CANCEL
PartitionName=main Nodes=n[1-$nodes] Default=YES DefMemPerCPU=100 MaxTime=INFINITE GraceTime=5
PartitionName=urgent Nodes=n[1-$nodes] DefMemPerCPU=100 MaxTime=INFINITE PriorityTier=10
PartitionName=short Nodes=n1 DefMemPerCPU=100 MaxTime=60
$( ((elastic)) && echo "PartitionName=elastic Nodes=e[1-$elastic] DefMemPerCPU=100 MaxTime=INFINITE")
CONF
}

start_accounts() {
  mkdir "$dir/accounts"
  mariadb-install-db --no-defaults --user=root --datadir="$dir/accounts" --auth-root-authentication-method=normal
  printf '%s\n' "CREATE USER slurm@'127.0.0.1' IDENTIFIED BY 'slurm';" "GRANT ALL ON slurm_acct_db.* TO slurm@'127.0.0.1';" \
    >"$dir/etc/accounts.sql"
  mariadbd --no-defaults --user=root --datadir="$dir/accounts" --socket="$dir/run/accounts.sock" --bind-address=127.0.0.1 \
    --skip-name-resolve --init-file="$dir/etc/accounts.sql" --log-error="$dir/log/accounts.log" &
  (umask 077 && cat >"$dir/etc/slurmdbd.conf") <<CONF
AuthType=auth/munge
AuthInfo=socket=$dir/run/munge.sock
DbdHost=ctl
SlurmUser=root
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StorageUser=slurm
StoragePass=slurm
LogFile=$dir/log/slurmdbd.log
PidFile=$dir/run/slurmdbd.pid
CONF
  wait_for 60 bash -c 'echo >/dev/tcp/127.0.0.1/3306'
  slurmdbd
  wait_for 60 sacctmgr -i add cluster lathe
}

cluster_init() {  # PID 1 of the cluster: it reaps what is orphaned
  hostname ctl
  mount --bind "$dir/etc/hosts" /etc/hosts
  ip link set lo up
  ip link add br0 type bridge
  ip addr add $net.1/24 dev br0
  ip link set br0 up
  munged --key-file="$dir/etc/munge.key" --socket="$dir/run/munge.sock" --pid-file="$dir/run/munge.pid" \
    --log-file="$dir/log/munge.log" --seed-file="$dir/run/munge.seed" --num-threads=4
  export SLURM_CONF=$dir/etc/slurm.conf
  ! ((accounts)) || start_accounts
  slurmctld
  wait_for 20 sh -c 'scontrol ping | grep -q "is UP"'
  local i
  for ((i = 1; i <= nodes; i++)); do "$dir/bin/slurm.sh" _resume "$dir" n$i & done
  for ((i = 1; i <= nodes; i++)); do wait_for 30 sh -c "sinfo -hN -n n$i -o %T | grep -q idle"; done
  echo ready >"$dir/run/ready"
  trap 'exit 0' TERM
  while :; do sleep 86400 & wait $! || true; done
}

node_on() {
  local node=$1 pid i
  [ ! -s "$dir/run/node-$node.pid" ] || [ ! -d "/proc/$(<"$dir/run/node-$node.pid")" ] || return 0
  mkdir -p "$dir/spool/$node"
  rm -f "$dir/run/node-$node.go"
  setsid unshare --pid --fork --kill-child --net --mount --uts --mount-proc "$dir/bin/slurm.sh" _node "$dir" "$node" \
    </dev/null >>"$dir/log/node-$node.out" 2>&1 &
  pid=$(child_of $!)
  for ((i = 0; i < 100; i++)); do
    ip link add "v-$node" type veth peer name eth0 netns "$pid" 2>/dev/null && break
    sleep 0.02
  done
  ip link set "v-$node" master br0 up
  echo "$pid" >"$dir/run/node-$node.pid"
  : >"$dir/run/node-$node.go"
}
node_init() {  # PID 1 of a node
  local node=$1 path
  hostname "$node"
  mount -t tmpfs tmpfs /dev/shm
  while read -r path; do
    [ ! -d "$path" ] || mount -t tmpfs -o size=1m,mode=0 tmpfs "$path"
  done <"$dir/etc/hide"
  mount -t tmpfs -o mode=1777 tmpfs /tmp
  wait_for 5 test -e "$dir/run/node-$node.go"
  ip link set lo up
  ip addr add "$(address "$node")/24" dev eth0
  ip link set eth0 up
  # -b: it was just started. All nodes share this machine's uptime, and slurmctld ignores a node that "booted" before it
  # asked for its power.
  SLURM_CONF=$dir/etc/slurm.conf slurmd -b -N "$node"
  trap 'exit 0' TERM
  while :; do sleep 86400 & wait $! || true; done
}
node_off() {
  local file=$dir/run/node-$1.pid i
  [ -s "$file" ] || return 0
  kill -9 "$(<"$file")" 2>/dev/null || true
  rm -f "$file" "$dir/run/node-$1.go"
  for ((i = 0; i < 100; i++)); do
    ip link show "v-$1" >/dev/null 2>&1 || return 0
    sleep 0.02
  done
}

ctld_on() {
  inside slurmctld
  wait_for 30 sh -c "'$self' exec '$dir' scontrol ping | grep -q 'is UP'"
}

case $verb in
  up)
    [ "$(id -u)" = 0 ] || stop "this needs root"
    [[ $dir != /tmp/* ]] || stop "the nodes have a /tmp of their own: choose another folder, such as one in /var/tmp"
    ! init_pid >/dev/null || stop "$dir runs already"
    [ ! -e "$dir" ] || [ -e "$dir/.slurm" ] || stop "$dir is there, and no cluster's folder"
    rm -rf "$dir"
    mkdir -p "$dir"
    : >"$dir/.slurm"
    write_config
    setsid unshare --pid --fork --kill-child --net --mount --uts --mount-proc "$dir/bin/slurm.sh" _init "$dir" \
      -n "$nodes" "${of_accounts[@]}" </dev/null >"$dir/log/init.out" 2>&1 &
    outer=$!
    (child_of $outer) >"$dir/run/init.pid" && wait_for -w $outer 90 test -s "$dir/run/ready" || {
      kill -9 $outer 2>/dev/null || true  # with which all that was started goes
      stop "it did not start: $(tail -n 5 "$dir"/log/{init.out,slurmctld.log} 2>&1)"
    }
    ;;
  down)
    pid=$(init_pid) && kill -9 "$pid" && wait_for 10 test ! -d "/proc/$pid"
    [ ! -e "$dir/.slurm" ] || rm -rf "$dir"
    ;;
  exec) inside "$@" ;;
  node-on) inside "$dir/bin/slurm.sh" _resume "$dir" "$1" ;;
  node-off) inside "$dir/bin/slurm.sh" _suspend "$dir" "$1" ;;
  net-cut) inside ip link set "v-$1" down ;;
  net-mend) inside ip link set "v-$1" up ;;
  ctld-kill) inside sh -c "kill -9 \$(cat $dir/run/slurmctld.pid)" ;;
  ctld-on) ctld_on ;;
  ctld-renew)
    number=$(inside scontrol show config | sed -n 's/^NEXT_JOB_ID *= *//p')
    sed -i '/^FirstJobId=/d' "$dir/etc/slurm.conf"
    echo "FirstJobId=$((number + 1000))" >>"$dir/etc/slurm.conf"
    inside sh -c "pid=\$(cat $dir/run/slurmctld.pid) && kill \$pid && while [ -d /proc/\$pid ]; do sleep 0.02; done"
    ctld_on
    ;;
  _init) cluster_init ;;
  _node) node_init "$1" ;;
  _resume) node_on "$1" ;;
  _suspend) node_off "$1" ;;
  *) sed -n '2,20s/^# \{0,1\}//p' "$self" >&2 && exit 2 ;;
esac
