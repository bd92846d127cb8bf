// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory that is hidden without debug_pagealloc: invalid in the linear map, but
 * not none. KFENCE's pool is like that in trees that have KFENCE.
 *
 *	lab_hide=ADDR		on the command line: a pool of pages at this
 *				physical address, hidden before a resume begins
 *	lab_hide=ADDR,shown	the same pool, not hidden
 *
 * The first half of the pool is reserved, the second is like pages that were
 * allocated. Each boot fills it with data of its own. In
 * /sys/module/lab_hide/parameters:
 *
 *	hidden			whether the pool is hidden; can be written
 *	right			how many pages of either half hold what this
 *				kernel has filled them with
 *	sources			written: hide the source pages of the image that
 *				is loaded; read: how many those are
 *
 * The compiler includes this file into arch/arm64/mm/pageattr.c, see
 * lab/build.py, for set_memory_valid() is not exported. The source of the
 * kernel stays as it is.
 */
#include <linux/init.h>
#include <linux/kernel.h>
#include <linux/kexec.h>
#include <linux/memblock.h>
#include <linux/mm.h>
#include <linux/moduleparam.h>
#include <linux/random.h>
#include <linux/string.h>

#include <asm/cacheflush.h>
#include <asm/mmu_context.h>

#define LAB_HALF	128	/* pages of the pool that are reserved; as many are not */
#define LAB_POOL	(2 * LAB_HALF)

static phys_addr_t lab_pool;
static bool lab_hidden = true;
static unsigned int lab_sources;
static u64 lab_seed;

static void *lab_page(unsigned int i)
{
	return phys_to_virt(lab_pool + i * PAGE_SIZE);
}

static int __init lab_hide_early(char *arg)
{
	lab_pool = memparse(arg, &arg);
	lab_hidden = strcmp(arg, ",shown");
	return memblock_reserve(lab_pool, LAB_POOL * PAGE_SIZE);
}

early_param("lab_hide", lab_hide_early);

static int lab_hide(void *page, unsigned int nr, bool hide)
{
	/* What set_memory_valid() takes: mapped page by page */
	if (!rodata_full && !debug_pagealloc_enabled())
		return -EOPNOTSUPP;
	return set_memory_valid((unsigned long)page, nr, !hide);
}

/* Before late_initcall_sync, which resumes */
static int __init lab_hide_init(void)
{
	unsigned int i, n;

	if (!lab_pool)
		return 0;

	lab_seed = get_random_u64();
	for (i = 0; i < LAB_POOL; i++) {
		u64 *data = lab_page(i);

		for (n = 0; n < PAGE_SIZE / sizeof(*data); n++)
			data[n] = lab_seed ^ virt_to_phys(&data[n]);
		if (i >= LAB_HALF)
			ClearPageReserved(virt_to_page(data));
	}

	pr_info("lab_hide: %u pages at %pa, the first %u reserved, %s\n",
		LAB_POOL, &lab_pool, LAB_HALF, lab_hidden ? "hidden" : "shown");
	return lab_hidden ? lab_hide(lab_page(0), LAB_POOL, true) : 0;
}
late_initcall(lab_hide_init);

static int lab_hidden_set(const char *val, const struct kernel_param *kp)
{
	int ret = lab_pool ? param_set_bool(val, kp) : -ENXIO;

	return ret ?: lab_hide(lab_page(0), LAB_POOL, lab_hidden);
}

static const struct kernel_param_ops lab_hidden_ops = {
	.set = lab_hidden_set,
	.get = param_get_bool,
};

/* So many pages from the @from-th on are as they were filled */
static unsigned int lab_count_right(unsigned int from)
{
	unsigned int i, n, right = 0;

	for (i = from; i < from + LAB_HALF; i++) {
		u64 *data = lab_page(i);

		for (n = 0; n < PAGE_SIZE / sizeof(*data); n++) {
			if (data[n] != (lab_seed ^ virt_to_phys(&data[n])))
				break;
		}
		right += n == PAGE_SIZE / sizeof(*data);
	}

	return right;
}

static int lab_right_get(char *buffer, const struct kernel_param *kp)
{
	int ret;

	if (!lab_pool)
		return -ENXIO;

	if (lab_hidden)
		lab_hide(lab_page(0), LAB_POOL, false);
	ret = sprintf(buffer, "reserved %u others %u\n", lab_count_right(0),
		      lab_count_right(LAB_HALF));
	if (lab_hidden)
		lab_hide(lab_page(0), LAB_POOL, true);
	return ret;
}

static const struct kernel_param_ops lab_right_ops = {
	.get = lab_right_get,
};

static int lab_sources_set(const char *val, const struct kernel_param *kp)
{
	kimage_entry_t *ptr, entry;
	int ret;

	if (!kexec_image)
		return -ENXIO;

	for (ptr = &kexec_image->head; !((entry = *ptr++) & IND_DONE);) {
		if (entry & IND_INDIRECTION) {
			ptr = phys_to_virt(entry & PAGE_MASK);
		} else if (entry & IND_SOURCE) {
			ret = lab_hide(phys_to_virt(entry & PAGE_MASK), 1, true);
			if (ret)
				return ret;
			lab_sources++;
		}
	}

	return 0;
}

static const struct kernel_param_ops lab_sources_ops = {
	.set = lab_sources_set,
	.get = param_get_uint,
};

#undef MODULE_PARAM_PREFIX
#define MODULE_PARAM_PREFIX "lab_hide."
module_param_cb(hidden, &lab_hidden_ops, &lab_hidden, 0600);
module_param_cb(right, &lab_right_ops, NULL, 0400);
module_param_cb(sources, &lab_sources_ops, &lab_sources, 0600);
#undef MODULE_PARAM_PREFIX
#define MODULE_PARAM_PREFIX KBUILD_MODNAME "."
