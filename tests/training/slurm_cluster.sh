#!/usr/bin/env bash
# Set up a Slurm cluster of two nodes on this machine, run a command with it, take it down:
#   tests/training/slurm_cluster.sh FOLDER SECONDS COMMAND [arguments]
# It needs root and Debian's slurm-wlm and munge. Each node has two made-up GPUs and the machine's
# CPUs. Logs and state are in FOLDER, which must be new; after SECONDS everything is ended.
set -euo pipefail
if [ $# -lt 3 ]; then
    sed -n '2,5s/^# //p' "$0" >&2
    exit 2
fi
folder=$1 seconds=$2
shift 2
mkdir -p "$folder/state"
folder=$(realpath "$folder")
export SLURM_CONF=$folder/slurm.conf PATH=$PATH:/usr/sbin
port=$((20000 + RANDOM % 5000))
short=$(mktemp -d /tmp/slurm.XXXX) # of the sockets, whose paths may have 108 characters

head -c 1024 /dev/urandom > "$folder/munge.key"
chmod 400 "$folder/munge.key"
chmod 711 "$folder"
touch "$folder"/gpu{0,1}
echo "NodeName=node[1-2] Name=gpu File=$folder/gpu[0-1]" > "$folder/gres.conf"
cat > "$SLURM_CONF" <<CONF
ClusterName=one
SlurmctldHost=localhost
SlurmctldPort=$port
SlurmUser=root
SlurmdUser=root
AuthInfo=socket=$short/munge.socket,cred_expire=5
CredType=cred/munge
StateSaveLocation=$folder/state
SlurmdSpoolDir=$short/%n
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.%n.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
GresTypes=gpu
ReturnToService=2
NodeName=node1 NodeHostname=localhost NodeAddr=127.0.0.1 Port=$((port + 1)) CPUs=$(nproc --all) Gres=gpu:2
NodeName=node2 NodeHostname=localhost NodeAddr=127.0.0.1 Port=$((port + 2)) CPUs=$(nproc --all) Gres=gpu:2
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP OverSubscribe=FORCE:4
CONF

daemons=()
stop() {
    timeout 10 scancel --me 2> /dev/null && sleep 1 # else their processes stay
    kill "${daemons[@]}" 2> /dev/null || true
    wait "${daemons[@]}" 2> /dev/null || true
    rm -rf "$short"
}
trap stop EXIT
start() { timeout "$seconds" "$@" >> "$folder/daemons.out" 2>&1 & daemons+=($!); }
wait_for() { # until the command that follows succeeds
    for _ in $(seq 120); do
        timeout 5 "$@" > /dev/null 2>&1 && return
        sleep 0.5
    done
    echo "Slurm does not start: no answer to $*" >&2
    tail -n 20 "$folder"/*.log "$folder/daemons.out" >&2
    exit 1
}
idle() { [ "$(timeout 5 sinfo --noheader --format '%t %D')" = 'idle 2' ]; }
export -f idle
start munged --foreground --force --socket "$short/munge.socket" --key-file "$folder/munge.key" \
    --pid-file "$folder/munged.pid" --seed-file "$folder/munge.seed" --log-file "$folder/munged.log"
wait_for munge --socket "$short/munge.socket" --no-input # else the next one gives up
start slurmctld -D
wait_for scontrol ping
start slurmd -D -N node1
start slurmd -D -N node2
wait_for bash -c idle
timeout "$seconds" "$@"
