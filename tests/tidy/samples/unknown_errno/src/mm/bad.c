/* SPDX-License-Identifier: MIT */
/* -EIO in a comment is fine. */
int good(void)
{
	return -EBUSY;
}

int bad(void)
{
	return -EIO;
}
