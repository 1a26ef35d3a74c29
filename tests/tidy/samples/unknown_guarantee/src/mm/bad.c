/* SPDX-License-Identifier: MIT */
int good; /* N1 */
int bad;  /* N9 */
int both; /* N1, T2 */
int text; /* N9 in a sentence is no citation */
