/* SPDX-License-Identifier: MIT */
int bad(int first,
	int second)
{
    first++;
	second++;
        first++;
 	second++;
	return first +
	       second;
}
