// SPDX-License-Identifier: GPL-2.0-only
/*
 * kvm - have EL2 run a guest
 *
 * The guest is five instructions that add two numbers and store the sum where there is no
 * memory; KVM hands that store to user space. Prints "kvm SUM", or what went wrong.
 */
#include <fcntl.h>
#include <linux/kvm.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#define MEMORY		0x10000		/* a page, however large */
#define DEVICE		0x100000	/* where the guest has nothing */

static const uint32_t code[] = {
	0xd2800281,	/* mov x1, #20 */
	0xd28002c2,	/* mov x2, #22 */
	0x8b020021,	/* add x1, x1, x2 */
	0xd2a00203,	/* mov x3, #DEVICE */
	0xb9000061,	/* str w1, [x3] */
};

static int failed(const char *what)
{
	perror(what);
	return 1;
}

int main(void)
{
	struct kvm_userspace_memory_region region = { .memory_size = MEMORY };
	struct kvm_vcpu_init init;
	struct kvm_run *run;
	int kvm, vm, vcpu, size;
	uint64_t pc = 0;
	struct kvm_one_reg reg = {
		.id = KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE |
		      KVM_REG_ARM_CORE_REG(regs.pc),
		.addr = (uintptr_t)&pc,
	};
	void *memory;
	uint32_t sum;

	kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (kvm < 0)
		return failed("/dev/kvm");
	vm = ioctl(kvm, KVM_CREATE_VM, 0UL);
	if (vm < 0)
		return failed("KVM_CREATE_VM");
	memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return failed("mmap");
	memcpy(memory, code, sizeof(code));
	region.userspace_addr = (uintptr_t)memory;
	if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region))
		return failed("KVM_SET_USER_MEMORY_REGION");
	vcpu = ioctl(vm, KVM_CREATE_VCPU, 0UL);
	if (vcpu < 0)
		return failed("KVM_CREATE_VCPU");
	if (ioctl(vm, KVM_ARM_PREFERRED_TARGET, &init))
		return failed("KVM_ARM_PREFERRED_TARGET");
	if (ioctl(vcpu, KVM_ARM_VCPU_INIT, &init))
		return failed("KVM_ARM_VCPU_INIT");
	if (ioctl(vcpu, KVM_SET_ONE_REG, &reg))
		return failed("KVM_SET_ONE_REG");
	size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0UL);
	run = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
	if (run == MAP_FAILED)
		return failed("mmap of the vCPU");
	if (ioctl(vcpu, KVM_RUN, 0UL))
		return failed("KVM_RUN");
	if (run->exit_reason != KVM_EXIT_MMIO || run->mmio.phys_addr != DEVICE ||
	    !run->mmio.is_write || run->mmio.len != sizeof(sum)) {
		fprintf(stderr, "the guest left for another reason: %u\n", run->exit_reason);
		return 1;
	}
	memcpy(&sum, run->mmio.data, sizeof(sum));
	printf("kvm %u\n", sum);
	return 0;
}
