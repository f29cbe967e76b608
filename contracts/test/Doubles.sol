// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { ERC20 } from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import { Octroi } from "../src/Octroi.sol";

/// Keeps a hundredth of every transfer.
contract ToughToken is ERC20("Tough", "TGH") {
    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    function _update(address from, address to, uint256 value) internal override {
        if (from == address(0)) return super._update(from, to, value);
        super._update(from, to, value - value / 100);
        super._update(from, address(0xdead), value / 100);
    }
}

/// Answers transferFrom with nothing, as some old tokens do.
contract SilentToken {
    mapping(address => uint256) public balanceOf;

    function mint(address to, uint256 amount) external {
        balanceOf[to] += amount;
    }

    function transferFrom(address from, address to, uint256 value) external {
        balanceOf[from] -= value;
        balanceOf[to] += value;
    }
}

/// Takes every authorization and moves nothing.
contract HollowToken {
    function balanceOf(address) external pure returns (uint256) {
        return 0;
    }

    function receiveWithAuthorization(
        address,
        address,
        uint256,
        uint256,
        uint256,
        bytes32,
        uint8,
        bytes32,
        bytes32
    ) external { }
}

/// Calls back into the contract in the middle of a transfer.
contract CallbackToken is ERC20("Callback", "CBK") {
    address private target;
    bytes private data;
    bytes public answer;

    function arm(address target_, bytes calldata data_) external {
        (target, data) = (target_, data_);
    }

    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    function permit(address owner, address spender, uint256 value, uint256, uint8, bytes32, bytes32)
        external
    {
        _callBack();
        _approve(owner, spender, value);
    }

    function receiveWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256,
        uint256,
        bytes32,
        uint8,
        bytes32,
        bytes32
    ) external {
        _transfer(from, to, value);
    }

    function _update(address from, address to, uint256 value) internal override {
        _callBack();
        super._update(from, to, value);
    }

    function _callBack() private {
        if (target != address(0)) (, answer) = target.call(data);
    }
}

/// A wallet that is a contract: it says yes to one digest and signature.
contract Wallet {
    bytes32 private immutable accepted;

    constructor(bytes32 digest, bytes memory signature) {
        accepted = keccak256(abi.encode(digest, signature));
    }

    function isValidSignature(bytes32 digest, bytes calldata signature) external view returns (bytes4) {
        return
            keccak256(abi.encode(digest, signature)) == accepted ? this.isValidSignature.selector : bytes4(0);
    }
}

/// A later implementation.
contract OctroiNext is Octroi {
    function generation() external pure returns (uint256) {
        return 2;
    }
}

/// Does to transfers what it is told: pauses, refuses an account, answers false, answers with a flood.
contract MoodyToken is ERC20("Moody", "MDY") {
    enum Mood {
        Good,
        Paused,
        Blacklisting,
        Lying,
        Flooding
    }

    Mood private mood;
    address private shunned;

    function feel(Mood mood_, address shunned_) external {
        (mood, shunned) = (mood_, shunned_);
    }

    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    function transfer(address to, uint256 value) public override returns (bool) {
        if (mood == Mood.Lying) return false;
        super.transfer(to, value);
        _flood();
        return true;
    }

    function transferFrom(address from, address to, uint256 value) public override returns (bool) {
        if (mood == Mood.Lying) return false;
        super.transferFrom(from, to, value);
        _flood();
        return true;
    }

    function permit(address, address, uint256, uint256, uint8, bytes32, bytes32) external view {
        if (mood == Mood.Flooding) {
            assembly {
                revert(0, 100000)
            }
        }
    }

    function _update(address from, address to, uint256 value) internal override {
        require(mood != Mood.Paused, "paused");
        require(mood != Mood.Blacklisting || (from != shunned && to != shunned), "blacklisted");
        super._update(from, to, value);
    }

    function _flood() private view {
        if (mood != Mood.Flooding) return;
        assembly {
            mstore(0, 1)
            return(0, 100000)
        }
    }
}

/// Refuses to move nothing.
contract StrictToken is ERC20("Strict", "STR") {
    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    function _update(address from, address to, uint256 value) internal override {
        require(value != 0, "nothing");
        super._update(from, to, value);
    }
}

/// Moves half of what it is asked for, and gives the receiver the other half.
contract GivingToken is ERC20("Giving", "GVG") {
    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    function transferFrom(address from, address to, uint256 value) public override returns (bool) {
        _spendAllowance(from, msg.sender, value);
        _transfer(from, to, value / 2);
        _mint(to, value - value / 2);
        return true;
    }
}
