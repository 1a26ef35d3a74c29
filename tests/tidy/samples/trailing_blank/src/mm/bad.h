/* SPDX-License-Identifier: MIT */
#ifndef MM_BAD_H
#define MM_BAD_H

int bad; 
	
#endif
