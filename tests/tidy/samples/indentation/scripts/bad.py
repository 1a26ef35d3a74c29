# SPDX-License-Identifier: MIT
if True:
	print(1)
