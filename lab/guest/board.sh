#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=dash
#
# run.sh - tries the transitional page tables on this machine, and writes a report
#
#	sh run.sh		what leaves the machine as it was: system calls that load
#				and refuse, how long a load takes, what debugfs shows
#	sh run.sh hand-over	HANDS THE MACHINE OVER to the kernel of this archive, a few
#				times, and reboots it at the end; nothing is shut down
#	sh run.sh report	says what the report tells of the hand-overs
#
# Options of hand-over:
#	--mib N		MiB of random data that are carried along in the large hand-overs
#	--times N	how often the small and the large hand-over are done; 3 if not said
#	--no-disk	print the report on the console only
#	--now		do not wait for ten seconds first
#
# All of them run as root. The report is one text file, trans_pgd-report.txt, in this folder.
# Names, serial numbers and addresses of this machine and its owner are not in it.
#
# This script is also the first process of each kernel that is handed over to. The
# initramfs is made of this folder. Each such process looks at what has arrived, notes it
# on the disk, and hands over again, or reboots the machine after the last time.

# 1. The same tools everywhere: those of the archive

here=${0%/*}
[ "$here" != "$0" ] || here=.
here=$(cd "${here:-/}" && pwd)
if [ "$TRANS_PGD_SHELL" != "$here" ]; then
	chmod +x "$here"/bin/busybox "$here"/bin/probe 2>/dev/null
	"$here/bin/busybox" true || {
		echo "error: $here/bin/busybox does not run: this is no arm64 machine, or" \
		     "programs may not be executed there (noexec); unpack the archive elsewhere" >&2
		exit 1
	}
	TRANS_PGD_SHELL=$here exec "$here/bin/busybox" sh "$here/run.sh" "$@"
fi

# What the archive has: releases of its kernels, and what MMU the one without the series uses
release='' without_release='' without_mmu='' about=''
# shellcheck source=/dev/null
. "$here/about"

state=$here/state	# what one kernel leaves for the next
work=$here/work		# what nobody needs afterwards
report=$here/trans_pgd-report.txt
small=1			# MiB of the small hand-overs
in_ram=
[ $$ != 1 ] || in_ram=yes
debug=
quiet=			# what the console has shown before
before=			# a command that runs kexec

busybox() {
	"$here/bin/busybox" "$@"
}

probe() {
	"$here/bin/probe" "$@"
}

# Debian's kexec, with the loader and the libraries that it was built with
kexec_tool() {
	$before "$here/kexec/ld-linux-aarch64.so.1" --library-path "$here/kexec" \
		"$here/kexec/kexec" "$@"
}

die() {
	echo "error: $*" >&2
	clean_up
	exit 1
}

# Lines for the report, on the console too
put() {
	probe filter "$state/secrets" | busybox tee -a "$report"
}

tell() {
	echo "$*" | put
}

first() {
	busybox head -n 1
}

# 2. What tells who the owner is, and must not be in the report

secrets() {
	{
		busybox hostname
		echo "$USER"
		echo "$SUDO_USER"
		busybox cat /etc/machine-id /sys/class/net/*/address \
			/proc/device-tree/serial-number /sys/class/dmi/id/*serial \
			/sys/class/dmi/id/*uuid /sys/class/dmi/id/*asset_tag
		busybox sed -n 's/^Serial[^:]*: *//p' /proc/cpuinfo
		busybox ip -o addr | busybox awk '{ sub("/.*", "", $4); print $4 }'
		# Of the command line, every value that is long and has a digit in it
		busybox tr ' ' '\n' </proc/cmdline | busybox sed -n 's/.*=//p' |
			busybox awk 'length >= 8 && /[0-9]/'
	} 2>/dev/null | busybox tr '\000' '\n' | busybox sort -u |
		busybox grep -Evix 'root|localhost|\(none\)|none|default string|not specified|127\.0\.0\.1|::1|[0:.-]*|.'
}

# 3. Facts

has_release() {
	[ "$(busybox uname -r)" = "$1" ]
}

# Which kernel this is: with the series, without it, or neither is of this archive
running() {
	if has_release "$release"; then
		echo series
	elif has_release "$without_release"; then
		echo without
	else
		echo other
	fi
}

level() {
	found=$(busybox dmesg | busybox grep -Eo 'CPU.*started at EL[12]|VHE mode|Hyp mode' |
		busybox sed 's/.*started at //' | busybox sort -u | busybox tr '\n' ' ')
	echo "started at: ${found:-not in the log of the kernel any more}"
}

facts() {
	echo "trans_pgd report"
	echo "archive: Linux $release, $about"
	echo "kernel: $(busybox uname -r), $(running)"
	for file in /proc/device-tree/model /sys/class/dmi/id/sys_vendor \
			/sys/class/dmi/id/product_name /sys/class/dmi/id/board_name; do
		[ ! -r $file ] ||
			echo "${file##*/}: $(busybox tr '\000' '\n' <$file | first)"
	done
	[ ! -r /proc/device-tree/compatible ] ||
		echo "compatible: $(busybox tr '\000' ' ' </proc/device-tree/compatible)"
	busybox cat /sys/devices/system/cpu/cpu*/regs/identification/midr_el1 2>/dev/null |
		busybox sort | busybox uniq -c | busybox sed 's/^ */CPUs: /; s/ 0x/ with MIDR_EL1 0x/'
	probe facts
	level
	busybox dmesg | busybox grep -Eo 'psci: PSCIv[0-9.]+' | first
	busybox grep -Eo 'GICv[0-9]|ITS-' /proc/interrupts | busybox sort -u |
		busybox sed 's/^/interrupts: /; s/-$//'
	[ ! -d /sys/firmware/efi ] || echo "firmware: EFI"
	[ ! -d /sys/firmware/acpi ] || echo "firmware: ACPI"
	probe memory
	busybox sed -n '/^CONFIG_\(ARM64_.*PAGES\|ARM64_VA_BITS\|ARM64_PA_BITS\|RODATA\|STRICT_KERNEL_RWX\|RANDOMIZE_BASE\|KEXEC\|HIBERNATION\|KFENCE\|KASAN\|CFI\|DEBUG_PAGEALLOC\|KVM\|UNMAP_KERNEL\|ARM64_.*ERRATUM\)[A-Z0-9_]*=/s/^CONFIG_/config: /p' "$here/config" |
		busybox sort
}

# 4. What leaves the machine as it was

need_unloaded() {
	[ "$(busybox id -u)" = 0 ] || die "run it as root"
	[ -r /sys/kernel/kexec_loaded ] || die "this kernel has no kexec (CONFIG_KEXEC)"
	[ "$(busybox cat /sys/kernel/kexec_loaded)" = 0 ] ||
		die "a kernel is loaded already, and would be lost: unload it first (kexec -u)"
	[ "$(busybox cat /sys/kernel/kexec_crash_loaded 2>/dev/null)" != 1 ] || [ "$1" = any ] ||
		die "a crash kernel is loaded, and would be lost: unload it first" \
		    "(kexec -p -u, or systemctl stop kdump-tools)"
}

# $debug: where debugfs is, or nothing
mount_debugfs() {
	debug=/sys/kernel/debug
	[ ! -d $debug/dynamic_debug ] || return 0
	debug=$work/debug
	busybox mkdir -p "$debug"
	busybox mount -t debugfs debugfs "$debug" 2>/dev/null || debug=
}

messages() {
	{ [ -z "$debug" ] || for file in trans_pgd.c machine_kexec.c; do
		echo "file $file $1p" >"$debug/dynamic_debug/control"
	done; } 2>/dev/null
}

clean_up() {
	[ -z "$quiet" ] || echo "$quiet" >/proc/sys/kernel/printk
	quiet=
	if [ -n "$debug" ]; then
		messages -
		[ "$debug" != "$work/debug" ] || busybox umount "$debug"
		debug=
	fi
	[ -n "$in_ram" ] || busybox rm -rf "$work" 2>/dev/null
}

# TAP: "program: ok, 12 passed, 0 failed, 3 skipped", and what is no ok
summary() {
	busybox awk -v name="$1" -v status="$2" '
		/^1\.\./ { planned = substr($1, 4) + 0; if (/SKIP/) why = $0 }
		/^ok/ { if (/# SKIP/) skipped++; else passed++ }
		/^not ok/ { failed++; wrong[failed] = $0 }
		END {
			seen = passed + failed + skipped
			word = "ok"
			if (status == 4 && !failed) word = "skipped"
			else if (status || failed || seen != planned) word = "FAILED"
			printf "test %s: %s, %d passed, %d failed, %d skipped of %d\n", \
				name, word, passed, failed, skipped, planned
			if (why) print "  " why
			if (status != 0 && status != 4 && !failed)
				print "  it ended with status " status
			for (i = 1; i <= failed; i++) print "  " wrong[i]
		}'
}

selftests() {
	for program in kexec_load kexec_file_load kexec_fuzz kexec_fault; do
		if [ ! -f "$here/tests/$program" ]; then
			# As a program says that it cannot run
			printf '1..1 # SKIP the archive has no such program\nok 1 # SKIP\n' |
				summary $program 4
			continue
		fi
		echo "running $program" >&2
		busybox chmod +x "$here/tests/$program"
		busybox timeout 1800 "$here/tests/$program" >"$state/$program.tap" 2>&1
		summary $program $? <"$state/$program.tap"
	done
}

option() {
	case $1 in
	file)	printf '%s\n' -s ;;
	load)	printf '%s\n' -c --no-checks ;;
	esac
}

name_of() {
	case $1 in
	file)	echo kexec_file_load ;;
	load)	echo kexec_load ;;
	esac
}

# Three times each call: load, look, unload
loads() {
	make_initrd $small
	for call in file load; do
		times=
		for _ in 1 2 3; do
			# shellcheck disable=SC2046
			took=$(before="probe time" && kexec_tool $(option $call) -l "$here/Image" \
				--initrd="$work/initrd" --reuse-cmdline 2>"$work/said") || {
				echo "test load by $(name_of $call): FAILED"
				first <"$work/said" | busybox sed 's/^/  /'
				continue 2
			}
			times="$times $took"
			if [ "$(busybox cat /sys/kernel/kexec_loaded)" != 1 ]; then
				echo "test load by $(name_of $call): FAILED, nothing is loaded"
				continue 2
			fi
			[ -z "$debug" ] || [ ! -r "$debug/kexec_page_tables" ] ||
				busybox cat "$debug/kexec_page_tables" >"$work/tables"
			kexec_tool -u
		done
		echo "test load by $(name_of $call): ok"
		echo "time of a load by $(name_of $call):$times us," \
			"$(size "$here/Image" "$work/initrd") KiB"
		[ ! -s "$work/tables" ] || echo "page tables in debugfs:" \
			"$(busybox wc -l <"$work/tables") lines while the image was loaded"
		# Only v5.10's series tells
		[ -z "$debug" ] || busybox dmesg | busybox grep -o '[0-9]* table pages' |
			busybox tail -n 1 | busybox sed 's/^/table pages of the copy: /'
	done
	[ "$(busybox cat /sys/kernel/kexec_loaded)" = 0 ] && echo "test unload: ok" ||
		echo "test unload: FAILED"
}

size() {
	busybox stat -L -c %s "$@" | busybox awk '{ sum += $1 } END { print int(sum / 1024) }'
}

# Reports of the kernel itself since it was booted
trouble() {
	busybox dmesg | busybox awk '
		/WARNING: |BUG: |Oops|Internal error|Unable to handle kernel/ { if (!n++) text = $0 }
		END { print "reports of trouble in the log of the kernel: " n + 0
		      if (n) print "  the first: " text }'
	busybox dmesg | busybox awk '
		/(^|\] *)(not )?ok [0-9]+ - (trans_pgd|kexec)/ { if (/not ok/) bad++; else good++ }
		END { if (good + bad) printf "KUnit at boot: suites with ok %d, not ok %d\n", good, bad }'
}

try() {
	need_unloaded
	has_release "$release" ||
		die "this is Linux $(busybox uname -r), and not the kernel of this archive" \
		    "($release): install and boot that one first"
	[ ! -e "$report" ] || busybox mv "$report" "$report.old"
	mount_debugfs
	facts | put
	messages +
	# A refusal is a line of the log, and there are thousands: too many for a serial console.
	quiet=$(busybox cat /proc/sys/kernel/printk)
	busybox dmesg -n 1
	selftests | put
	loads | put
	trouble | put
	tell "end of what leaves the machine as it was"
	clean_up
	echo "The report is $report. Nothing was handed over: sh run.sh hand-over does that."
}

# 5. Hand-overs

# The disk that this folder is on, and where on it; in $disk, $disk_size, $folder
find_disk() {
	number=$(busybox stat -c %d "$here")
	major=$((number >> 8 & 0xfff))
	minor=$((number & 0xff | number >> 12 & 0xfff00))
	disk=$(busybox sed -n 's/^DEVNAME=//p' "/sys/dev/block/$major:$minor/uevent" 2>/dev/null)
	case $disk in
	""|dm-*|md*|zram*|loop*)
		die "$here is not on a plain partition that the next kernel could find;" \
		    "unpack the archive on one, or say --no-disk" ;;
	esac
	disk_size=$(busybox cat "/sys/class/block/$disk/size")
	top=$here
	while [ "$top" != / ]; do
		up=${top%/*}
		[ "$(busybox stat -c %d "${up:-/}")" = "$number" ] || break
		top=${up:-/}
	done
	folder=${here#"$top"}
	folder=${folder#/}
}

# Call, MiB of random data and kernel of each hand-over, a line each
plan() {
	call='file'
	busybox grep -q '^CONFIG_KEXEC_FILE=y' "$here/config" || call=load
	echo "$first_call $small Image"
	pairs "$call" Image
	if [ $call = file ] && busybox grep -q '^CONFIG_KEXEC=y' "$here/config"; then
		echo "load $small Image"
	fi
	if [ -f "$here/without/Image" ]; then
		echo "$call $small without/Image"
		pairs "$call" without/Image
	fi
}

pairs() {
	for _ in $(busybox seq "$repeat"); do
		echo "$1 $small $2"
		echo "$1 $mib $2"
	done
}

# $work/initrd: this folder, with so many MiB of random data in it
make_initrd() {
	busybox mkdir -p "$work"
	(
		cd "$here" || exit 1
		busybox dd if=/dev/urandom of=payload bs=1048576 count="$1" 2>/dev/null &&
			busybox md5sum payload >payload.md5 &&
			busybox find run.sh about config Image without bin kexec state payload \
				payload.md5 trans_pgd-report.txt 2>/dev/null |
			busybox cpio -o -H newc >work/initrd 2>work/said
	) || die "no room for $1 MiB of random data and what goes with them in $here"
	busybox rm -f "$here/payload" "$here/payload.md5"
}

# The command line of this kernel, without what would not do for the next one
command_line() {
	busybox tr ' ' '\n' </proc/cmdline |
		busybox grep -Ev '^(trans_pgd\.(at|kib)|rdinit|initrd|panic)=|^(quiet|skip_initramfs)$' |
		busybox tr '\n' ' '
	echo "panic=10 rdinit=/run.sh"
}

# Do the next hand-over of the list
next_hop() {
	read -r call mib kernel <"$state/todo"
	busybox sed -i 1d "$state/todo"
	number=$(($(busybox cat "$state/number") + 1))
	echo $number >"$state/number"
	echo "$(running) $(name_of "$call") $mib" >"$state/hop"
	tell "hand-over $number: begun, from $(running) to $kernel by $(name_of "$call")," \
		"with $mib MiB of data"
	make_initrd "$mib"
	save
	busybox sync
	# What is relocated, but for a few pages
	kib=$(size "$here/$kernel" "$work/initrd")
	for seconds in 4 15 60; do
		at=$(probe count $seconds)
		# shellcheck disable=SC2046
		said=$(kexec_tool $(option "$call") -l "$here/$kernel" --initrd="$work/initrd" 2>&1 \
			--command-line="$(command_line) trans_pgd.at=$at trans_pgd.kib=$kib") || break
		if [ -z "$in_ram" ]; then
			# Like a power cut, but with clean file systems
			busybox sync
			echo u >/proc/sysrq-trigger
			busybox sleep 1
		fi 2>/dev/null
		# From here on nothing can be written.
		said=$(probe enter "$at" 2>&1)
		[ $? = 3 ] || break
		said="too late for the appointed time"
		kexec_tool -u
	done
	tell "hand-over $number: FAILED to begin: $said"
	return 1
}

hand_over() {
	mib=
	repeat=3
	wait=10
	no_disk=
	while [ $# != 0 ]; do
		case $1 in
		--mib)		mib=$2; shift ;;
		--times)	repeat=$2; shift ;;
		--no-disk)	no_disk=yes ;;
		--now)		wait=0 ;;
		*)		usage ;;
		esac
		shift
	done
	case $repeat in
	""|*[!0-9]*)	die "--times takes a number" ;;
	esac
	case $mib in
	*[!0-9]*)	die "--mib takes a number" ;;
	"")	mib=$(busybox awk '/^MemAvailable/ { n = int($2 / 16384) }
			END { if (n < 16) n = 16; if (n > 256) n = 256; print n }' /proc/meminfo) ;;
	esac
	[ "$mib" -gt $small ] || die "--mib begins at $((small + 1))"
	need_unloaded any
	disk=
	disk_size=0
	folder=
	[ -n "$no_disk" ] || find_disk
	printf 'disk=%s\ndisk_size=%s\nfolder="%s"\n' "$disk" "$disk_size" "$folder" >"$state/disk"
	busybox head -c 16 /dev/urandom | busybox md5sum >"$state/token"
	[ -s "$report" ] || facts | put
	first_call='file'
	# What kexec_file_load() answers to nothing at all, if it is there: no other error
	kexec_tool -s -l "$here/Image" --reuse-cmdline >/dev/null 2>&1 || first_call=load
	kexec_tool -u >/dev/null 2>&1
	plan >"$state/todo"
	echo 0 >"$state/number"
	busybox rm -f "$state/times"
	echo "This machine hands over $(busybox wc -l <"$state/todo") times in a few minutes, and" \
		"reboots at the end. Whatever is not saved is lost."
	echo "If it stays silent for ten minutes, switch it off and on, and run: sh run.sh report"
	[ $wait = 0 ] || echo "It begins in $wait seconds; ^C stops it."
	busybox sleep $wait
	next_hop
	clean_up
	die "no hand-over was done; file systems may be read-only now: reboot the machine"
}

# Copy what is known to the disk, so that a machine that stays silent has told what it was at
save() {
	[ -n "$in_ram" ] || return 0
	# shellcheck source=/dev/null
	. "$state/disk"
	[ -n "$disk" ] || return 0
	busybox mkdir -p /mnt
	for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
		# Another driver that is first may give the disk another name.
		for name in "$disk" $(busybox grep -lx "$disk_size" /sys/class/block/*/size |
				busybox sed 's,/size$,,; s,.*/,,'); do
			[ -b "/dev/$name" ] || continue
			busybox mount -o rw "/dev/$name" /mnt 2>/dev/null || continue
			if busybox cmp -s "$state/token" "/mnt/$folder/state/token"; then
				busybox cp "$report" "/mnt/$folder/${report##*/}"
				busybox cp "$state/todo" "/mnt/$folder/state/todo"
				busybox sync
				busybox umount /mnt
				return 0
			fi
			busybox umount /mnt
		done
		busybox sleep 1
	done
	echo "note: this kernel does not find the disk with the report; its driver has to be" \
		"built in. The report is here:"
	busybox cat "$report"
	echo "disk=" >>"$state/disk"
}

# Microseconds for each MiB more, by which kernel and call. Other work that delays a jump only
# adds to its time, so the least time counts.
rates() {
	busybox awk -v without="$without_mmu" -v small="$small" '
		{ key = $1 " by " $2; size = $3 == small ? "small" : "large" }
		!((key, size) in time) || $5 < time[key, size] {
			time[key, size] = $5
			kib[key, size] = $4
			keys[key]
		}
		END { for (key in keys) if ((key, "small") in time && (key, "large") in time)
			printf "relocation, %s, MMU %s: %.1f us for each MiB\n", key, \
				key ~ /^series/ ? "on" : without, \
				(time[key, "large"] - time[key, "small"]) * 1024 / \
				(kib[key, "large"] - kib[key, "small"])
		}' "$state/times" | busybox sort
}

of_command_line() {
	busybox tr ' ' '\n' </proc/cmdline | busybox sed -n "s/^trans_pgd\.$1=//p"
}

# The first process of a kernel that was handed over to
init() {
	busybox mkdir -p /dev /proc /sys /mnt
	busybox mount -t proc proc /proc
	busybox mount -t sysfs sysfs /sys
	busybox mount -t devtmpfs devtmpfs /dev 2>/dev/null
	times=$(probe arrived "$(of_command_line at)" 2>&1)
	[ ! -c /dev/console ] || exec </dev/console >/dev/console 2>&1
	# However this ends, the machine comes back.
	{ busybox sleep 600; busybox reboot -f; } &
	number=$(busybox cat "$state/number")
	case $times in
	[0-9]*\ [0-9]*)
		# The first one also shuts down what a whole system uses.
		[ "$number" = 1 ] || echo "$(busybox cat "$state/hop") $(of_command_line kib)" \
			"${times% *}" >>"$state/times"
		times="${times% *} us from the jump to the clock of the next kernel, ${times#* } us to its init, $(of_command_line kib) KiB" ;;
	*)	times="no times: the counter does not go on ($times)" ;;
	esac
	if (cd / && busybox md5sum -c payload.md5 >/dev/null 2>&1); then
		tell "hand-over $number: ok, the data arrived whole; $times"
	else
		tell "hand-over $number: FAILED, the data arrived damaged; $times"
	fi
	busybox rm -f /payload /payload.md5
	[ "$number" != 1 ] || level | put
	trouble | put
	if [ -s "$state/todo" ]; then
		next_hop
	else
		rates | put
		tell "end of the hand-overs"
	fi
	save
	echo "trans_pgd: rebooting"
	busybox sync
	busybox sleep 1
	busybox reboot -f
}

tell_report() {
	[ -s "$report" ] || die "there is no report yet: sh run.sh"
	last=$(busybox grep '^hand-over\|^end of' "$report" | busybox tail -n 1)
	case $last in
	"end of the hand-overs")
		echo "The report is whole." ;;
	hand-over*begun*)
		echo "The machine did not come back from this, or it was switched off:"
		echo "  $last" ;;
	hand-over*)
		echo "The hand-overs have not come to their end; the last that is known:"
		echo "  $last" ;;
	*)
		echo "No hand-over was tried." ;;
	esac
	echo "Look through it, and send back this one file: $report"
}

usage() {
	busybox sed -n '5,/^$/s/^# \{0,1\}//p' "$here/run.sh" >&2
	exit 2
}

if [ -n "$in_ram" ]; then
	init
fi
busybox mkdir -p "$state" "$work" || die "$here cannot be written to"
secrets >"$state/secrets"
case $1 in
"")		try ;;
hand-over)	shift; hand_over "$@" ;;
report)		tell_report ;;
*)		usage ;;
esac
