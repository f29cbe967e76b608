// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { ERC20 } from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import { ERC20Permit } from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";
import { ERC3009 } from "@openzeppelin/contracts/token/ERC20/extensions/draft-ERC3009.sol";

/// A stablecoin for development chains and tests: 6 decimals, EIP-2612, EIP-3009, and anyone mints.
/// Worth nothing; never list it where money is real.
contract DevStablecoin is ERC20Permit, ERC3009 {
    /// @notice Starts with no supply.
    constructor() ERC20("Octroi Development Dollar", "ODD") ERC20Permit("Octroi Development Dollar") { }

    /// @notice Makes money, for anyone.
    /// @param to Who gets it.
    /// @param amount In millionths.
    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    /// @notice How many digits of an amount are behind the point.
    /// @return Six, as in the stablecoins that it stands in for.
    function decimals() public pure override returns (uint8) {
        return 6;
    }
}
