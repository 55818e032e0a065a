/**
 * Pages without a life of their own (the error page): header only.
 */

import { wireAccount } from "../parts/account.js";
import { wireTheme } from "../parts/theme.js";

wireTheme();
wireAccount();
